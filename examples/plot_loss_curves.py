"""
Losses and validation curves
============================

What a fit went through: the training loss after each iteration, and the loss of
rows that were set aside.
"""

# %%
# Two solvers
# -----------
# L-BFGS looks at all rows in each step, SGD at a few.

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax.inspection import LossCurveDisplay

X, y = load_digits(return_X_y=True)
options = {
    "C": 100.0,
    "early_stopping": True,
    "validation_fraction": 0.3,
    "n_iter_no_change": 20,
    "random_state": 0,
}

fig, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for ax, solver in zip(axes, ("lbfgs", "sgd"), strict=True):
    clf = SoftmaxRegressionClassifier(solver=solver, max_iter=100, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf.fit(X, y)
    LossCurveDisplay.from_estimator(clf, ax=ax)
    ax.set(title=f"{solver}: {clf.stop_reason_}", yscale="log")

# %%
# Where the validation loss rises again, the model begins to fit the noise of the
# training rows. The model that is kept is the one with the lowest validation
# loss. A smaller ``C`` does the same, and does not depend on the solver.

plt.show()
