"""
How uncertain predictions are
=============================

The entropy of a predicted distribution, in bits, says how uncertain it is. With
wrong labels among the training rows the model becomes less certain, and rightly
so.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax.functional import entropy

rng = np.random.default_rng(0)
X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)

fig, axes = plt.subplots(
    1, 3, figsize=(9, 3.2), sharex=True, sharey=True, layout="constrained"
)
for ax, noise in zip(axes, (0.0, 0.2, 0.5), strict=True):
    is_noise = rng.random(len(y)) < noise
    labels = np.where(is_noise, rng.integers(0, 10, len(y)), y)
    clf = SoftmaxRegressionClassifier(C=0.01).fit(X, labels)
    bits = entropy(clf.predict_proba(X_test), unit="bits")
    right = clf.predict(X_test) == y_test
    bins = np.linspace(0, np.log2(10), 25)
    ax.hist([bits[right], bits[~right]], bins, stacked=True)
    accuracy, mean = right.mean(), bits.mean()
    ax.set_title(
        f"{noise:.0%} random labels\naccuracy {accuracy:.2f}, {mean:.2f} bits"
    )
    ax.set_xlabel("entropy (bits)")
axes[0].set_ylabel("images")
axes[0].legend(["right", "wrong"])
plt.show()
