"""
Fashion-MNIST, as in the textbook
=================================

The exercise that softmax regression is taught with: 60,000 images of clothes, pixels divided by
255, minibatches of 256, a learning rate of 0.1, ten epochs. Then the same without choosing
anything.
"""

# %%
# The data
# --------
# Fashion-MNIST is fetched from OpenML. Where there is no network, the digits that are bundled
# with scikit-learn take its place.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import fetch_openml, load_digits
from sklearn.exceptions import ConvergenceWarning

from sklearn_softmax import SoftmaxRegressionClassifier

LABELS = ["T-shirt", "trouser", "pullover", "dress", "coat"]
LABELS += ["sandal", "shirt", "sneaker", "bag", "ankle boot"]
# What PyTorch 2.13 did in the same exercise, recorded: a linear layer that starts at zero,
# torch.optim.SGD, and shuffled batches of its own.
PYTORCH = [0.7859, 0.5698, 0.5251, 0.5004, 0.4856, 0.4735, 0.4647, 0.4577, 0.4527, 0.4471]


def load_images():
    """Return training and test images with labels, the pixels' maximum, and names."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it tries again
            X, y = fetch_openml("Fashion-MNIST", version=1, return_X_y=True, as_frame=False)
    except OSError as error:
        print(f"Fashion-MNIST cannot be fetched ({error}): the bundled digits take its place.")
        X, y = load_digits(return_X_y=True)
        return X[:1500], y[:1500], X[1500:], y[1500:], 16.0, [str(k) for k in range(10)]
    y = y.astype(int)
    return X[:60_000], y[:60_000], X[60_000:], y[60_000:], 255.0, LABELS


X, y, X_test, y_test, largest, names = load_images()
X, X_test = (X / largest).astype(np.float32), (X_test / largest).astype(np.float32)

# %%
# Ten epochs by hand
# ------------------
# A learning rate given as a number is used as it is, on the features as they are; ``C=np.inf``
# is no penalty. ``partial_fit`` is an epoch, so that test accuracy can be recorded after each.

clf = SoftmaxRegressionClassifier(
    C=np.inf,
    batch_size=256,
    learning_rate="constant",
    learning_rate_init=0.1,
    momentum=0.0,
    random_state=0,
)
accuracy = []
for epoch in range(10):
    clf.partial_fit(X, y, classes=np.arange(10))
    accuracy.append(clf.score(X_test, y_test))
    print(f"epoch {epoch + 1:2}: loss {clf.loss_curve_[-1]:.4f}, test accuracy {accuracy[-1]:.4f}")

# %%
# The same with nothing chosen
# ----------------------------

auto = SoftmaxRegressionClassifier(solver="sgd", max_iter=10, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # ten epochs are what is compared
    auto.fit(X, y)
print(
    f"at the defaults: loss {auto.loss_curve_[-1]:.4f}, accuracy {auto.score(X_test, y_test):.4f}"
)

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(range(1, 11), clf.loss_curve_, "o-", label="learning rate 0.1, no momentum")
if names is LABELS:
    ax.plot(range(1, 11), PYTORCH, "k+", label="the same in PyTorch")
ax.plot(range(1, len(auto.loss_curve_) + 1), auto.loss_curve_, "s-", label="defaults")
ax.set(xlabel="epoch", ylabel="training loss (nats)")
ax.legend()

# %%
# The learned weights
# -------------------
# A row of ``coef_`` is an image: where ink speaks for the class (red) or against it (blue).

size = int(np.sqrt(X.shape[1]))
fig, axes = plt.subplots(2, 5, figsize=(9, 4), layout="constrained")
bound = np.abs(auto.coef_).max() / 2
for k, ax in enumerate(axes.flat):
    ax.imshow(auto.coef_[k].reshape(size, size), cmap="RdBu_r", vmin=-bound, vmax=bound)
    ax.set_title(names[k])
    ax.axis("off")

# %%
# Some test images
# ----------------
# With the true label above the predicted one.

predicted = auto.predict(X_test[:10])
fig, axes = plt.subplots(1, 10, figsize=(11, 1.8), layout="constrained")
for k, ax in enumerate(axes):
    ax.imshow(X_test[k].reshape(size, size), cmap="gray_r")
    color = "black" if predicted[k] == y_test[k] else "red"
    ax.set_title(f"{names[y_test[k]]}\n{names[predicted[k]]}", fontsize=8, color=color)
    ax.axis("off")
plt.show()
