"""
Which classes are confused
==========================

A confusion matrix by cross-validation, and the pairs of classes that the model
finds hardest to tell apart.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from sklearn_softmax import SoftmaxRegressionClassifier

X, y = load_digits(return_X_y=True)
proba = cross_val_predict(
    SoftmaxRegressionClassifier(C=0.01),
    X,
    y,
    method="predict_proba",
    cv=StratifiedKFold(5, shuffle=True, random_state=0),
)
predicted = proba.argmax(axis=1)

fig, ax = plt.subplots(figsize=(5, 5), layout="constrained")
ConfusionMatrixDisplay.from_predictions(
    y, predicted, cmap="Blues", colorbar=False, ax=ax
)
ax.set_title(f"accuracy {(predicted == y).mean():.3f}")

# %%
# A probability says more than a label
# ------------------------------------
# The mean probability that the images of each digit give to each other digit.

mean = np.array([proba[y == label].mean(axis=0) for label in range(10)])
np.fill_diagonal(mean, 0)
for flat in np.argsort(-mean, axis=None)[:4]:
    true, other = np.unravel_index(flat, mean.shape)
    print(f"a {true} is taken for a {other} with {mean[true, other]:.3f}")
plt.show()
