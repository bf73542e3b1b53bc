"""
Images, as in the textbook
==========================

The exercise that softmax regression is taught with: images as rows of pixels,
minibatches, a learning rate of 0.1, some epochs. Then the same without choosing
anything. The images are the 8 x 8 digits that come with scikit-learn. For
Fashion-MNIST only the loading differs:

.. code-block:: python

    X, y = fetch_openml("Fashion-MNIST", return_X_y=True, as_frame=False)
"""

# %%
# The data
# --------
# Pixels are divided by their maximum, and kept in float32.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sklearn_softmax import SoftmaxRegressionClassifier

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# Twenty epochs by hand
# ---------------------
# A learning rate given as a number is used as it is, on the features as they
# are, and ``C=np.inf`` means no penalty. Each ``partial_fit`` is an epoch, so
# the accuracy can be recorded after each.

clf = SoftmaxRegressionClassifier(
    C=np.inf,
    batch_size=32,
    learning_rate="constant",
    learning_rate_init=0.1,
    momentum=0.0,
    random_state=0,
)
accuracy = []
for _ in range(20):
    clf.partial_fit(X, y, classes=np.arange(10))
    accuracy.append(clf.score(X_test, y_test))
print(f"loss {clf.loss_curve_[-1]:.3f}, accuracy {accuracy[-1]:.3f}")

# %%
# The same with nothing chosen
# ----------------------------

auto = SoftmaxRegressionClassifier(solver="sgd", max_iter=20, random_state=0)
with warnings.catch_warnings():
    # Twenty epochs are what is compared.
    warnings.simplefilter("ignore", ConvergenceWarning)
    auto.fit(X, y)
print(
    f"loss {auto.loss_curve_[-1]:.3f}, accuracy {auto.score(X_test, y_test):.3f}"
)

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for fitted, label in ((clf, "learning rate 0.1"), (auto, "defaults")):
    losses = fitted.loss_curve_
    ax.plot(range(1, len(losses) + 1), losses, "o-", label=label)
ax.set(xlabel="epoch", ylabel="training loss (nats)", yscale="log")
ax.legend()

# %%
# The learned weights
# -------------------
# A row of ``coef_`` is an image: red where ink speaks for the class, and blue
# where it speaks against it.

fig, axes = plt.subplots(2, 5, figsize=(9, 4), layout="constrained")
bound = np.abs(clf.coef_).max()
for k, ax in enumerate(axes.flat):
    image = clf.coef_[k].reshape(8, 8)
    ax.imshow(image, cmap="RdBu_r", vmin=-bound, vmax=bound)
    ax.set_title(k)
    ax.axis("off")

# %%
# Some test images
# ----------------
# With the true label above the predicted one. What is wrong is red.

predicted = auto.predict(X_test)
shown = np.argsort(predicted == y_test, kind="stable")[:10]
fig, axes = plt.subplots(1, 10, figsize=(10, 1.7), layout="constrained")
for k, ax in zip(shown, axes, strict=True):
    ax.imshow(X_test[k].reshape(8, 8), cmap="gray_r")
    color = "black" if predicted[k] == y_test[k] else "red"
    ax.set_title(f"{y_test[k]}\n{predicted[k]}", color=color)
    ax.axis("off")
plt.show()
