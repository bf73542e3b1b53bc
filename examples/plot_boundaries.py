"""
Decision boundaries on raw features
===================================

Two features of the wines, as they are: one is near 13, the other goes up to
1,700. ``LogisticRegression`` at its defaults stops before the optimum and
warns. Both minimise the same objective.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from sklearn_softmax import SoftmaxRegressionClassifier

data = load_wine(as_frame=True)
X, y = data.data[["alcohol", "proline"]], data.target

fig, axes = plt.subplots(
    1, 2, figsize=(9, 4), sharey=True, layout="constrained"
)
for ax, clf in zip(
    axes, (LogisticRegression(), SoftmaxRegressionClassifier()), strict=True
):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        clf.fit(X, y)
    DecisionBoundaryDisplay.from_estimator(
        clf, X, response_method="predict", alpha=0.4, ax=ax
    )
    ax.scatter(X["alcohol"], X["proline"], c=y, s=12)
    loss = log_loss(y, clf.predict_proba(X))
    state = "not converged" if caught else "converged"
    ax.set_title(f"{type(clf).__name__}\n{state}, log loss {loss:.3f}")
plt.show()
