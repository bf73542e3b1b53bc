"""
Learning from a stream
======================

``partial_fit`` takes one pass of minibatch SGD over the rows that it is given, and keeps nothing
of them. Memory stays flat, however long the stream.
"""

# %%
# Chunks of rows
# --------------
# All classes must be named at the first call; a chunk need not hold all of them. The learning
# rate comes from the first chunk, whose features are centred and scaled in the space of the
# parameters: these are raw.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification

from sklearn_softmax import SoftmaxRegressionClassifier

X, y = make_classification(
    n_samples=30_000,
    n_features=40,
    n_informative=20,
    n_classes=5,
    class_sep=1.5,
    random_state=0,
)
X = X * np.logspace(-2, 3, 40) + 10
X_test, y_test = X[-5000:], y[-5000:]

clf = SoftmaxRegressionClassifier(random_state=0)
seen, accuracy, loss = [], [], []
for start in range(0, 25_000, 1000):
    rows = slice(start, start + 1000)
    clf.partial_fit(X[rows], y[rows], classes=np.arange(5))
    seen.append(rows.stop)
    accuracy.append(clf.score(X_test, y_test))

# %%
# Against all rows at once
# ------------------------

full = SoftmaxRegressionClassifier().fit(X[:25_000], y[:25_000])
print(f"stream {accuracy[-1]:.4f}, all rows {full.score(X_test, y_test):.4f}")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
left.plot(seen, clf.loss_curve_)
left.set(xlabel="rows seen", ylabel="loss of the chunk (nats)")
right.plot(seen, accuracy, label="stream")
right.axhline(
    full.score(X_test, y_test),
    color="gray",
    linestyle="--",
    label="all rows, L-BFGS",
)
right.set(xlabel="rows seen", ylabel="accuracy on held-out rows")
right.legend()
plt.show()
