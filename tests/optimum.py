"""What fits by different routes have in common: the optimum, and not the way there.

Two fits that end early, or in float32 at the default ``tol``, differ by more than rounding on some
CPUs: other kernels of BLAS, other vector instructions, another order of sums. So fits are
compared where they have converged, or by the objective.
"""

import numpy as np
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.utils.fixes import parse_version

from sklearn_softmax import SoftmaxRegressionClassifier


def converged(**options):
    """Return a classifier that goes on until it is at the optimum."""
    return SoftmaxRegressionClassifier(**{"tol": 1e-8, **options})


def logistic_regression(*, l1_ratio=0.0, **options):
    """Return scikit-learn's; before 1.8 its l1_ratio has no effect without the penalty's name."""
    if l1_ratio:
        options["l1_ratio"] = l1_ratio
        if parse_version(sklearn.__version__) < parse_version("1.8"):
            options["penalty"] = "elasticnet"
    return LogisticRegression(**options)


def assert_same_optimum(clf, expected):
    """Compare two converged fits."""
    assert_array_equal(clf.classes_, expected.classes_)
    atol = 1e-7 * max(1e-2, np.abs(expected.coef_).max())
    assert_allclose(clf.coef_, expected.coef_, rtol=1e-6, atol=atol)
    assert_allclose(clf.intercept_, expected.intercept_, rtol=1e-6, atol=1e-7)
    assert_allclose(clf.loss_curve_[-1], expected.loss_curve_[-1], rtol=1e-10)


def objective(clf, X, y, weight=None):
    """Return the objective of a model in float64, straight from its definition."""
    X = np.asarray(X.toarray() if sp.issparse(X) else X, dtype=np.float64)
    coef, intercept = clf.coef_.astype(np.float64), clf.intercept_.astype(np.float64)
    logits = X @ coef.T + intercept
    if len(clf.classes_) == 2:
        logits = np.column_stack([np.zeros(len(X)), logits])
    rows, codes = np.arange(len(X)), np.searchsorted(clf.classes_, y)
    losses = -log_softmax(logits, axis=1)[rows, codes]
    loss = losses.sum() if weight is None else weight @ losses
    ridge, lasso = 0.5 * (coef**2).sum(), np.abs(coef).sum()
    return loss + ((1 - clf.l1_ratio) * ridge + clf.l1_ratio * lasso) / clf.C


def assert_near_optimum(clf, X, y, weight=None, *, tol=1e-6):
    """The objective is within ``tol`` of its minimum, relatively, whatever X was computed in."""
    options = {"C": clf.C, "l1_ratio": clf.l1_ratio, "fit_intercept": clf.fit_intercept}
    X = X.astype(np.float64)
    best = objective(converged(**options).fit(X, y, weight), X, y, weight)
    assert objective(clf, X, y, weight) <= best * (1 + tol)


def assert_same_validation(clf, expected):
    """The same rows are set aside: the first iteration scores alike, and so does the best model.

    How many iterations come after the best is decided by differences as small as ``tol``.
    """
    ours, theirs = clf.validation_score_curve_, expected.validation_score_curve_
    assert_allclose(ours[0], theirs[0], rtol=1e-6)
    assert abs(max(ours) - max(theirs)) <= clf.tol
