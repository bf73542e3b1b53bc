"""Peers: for each a generator of fitted models, from rough to exact.

A peer takes X, y and C, and yields functions that fit and return (classes, coef, intercept). They
minimise the sum of the cross-entropy over the rows plus |W|^2 / (2 C), as LogisticRegression does.
"""

import functools

from sklearn.linear_model import LogisticRegression

from sklearn_softmax import SoftmaxRegressionClassifier


def fitted(estimator, X, y):
    """Fit, and return classes, coefficients and intercepts."""
    estimator.fit(X, y)
    return estimator.classes_, estimator.coef_, estimator.intercept_


def ours(X, y, C):
    for tol in (1e-1, 1e-2, 1e-3, 1e-4, 1e-6):
        yield lambda tol=tol: fitted(SoftmaxRegressionClassifier(C=C, tol=tol), X, y)


def ours_at_its_defaults(X, y, C):
    yield lambda: fitted(SoftmaxRegressionClassifier(C=C), X, y)


def scikit_learn(solver, X, y, C):
    # Enough to converge where a solver can, few enough to end where it cannot.
    max_iter = {"saga": 2000, "lbfgs": 3000}.get(solver, 100)
    if solver == "saga":
        X = X.astype(float)
    for tol in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8):
        clf = LogisticRegression(solver=solver, C=C, tol=tol, max_iter=max_iter)
        yield lambda clf=clf: fitted(clf, X, y)


def scikit_learn_at_its_defaults(X, y, C):
    yield lambda: fitted(LogisticRegression(C=C), X, y)


PEERS = {
    "ours": ours,
    "ours (defaults)": ours_at_its_defaults,
    **{
        f"sklearn {solver}": functools.partial(scikit_learn, solver)
        for solver in ("lbfgs", "newton-cg", "newton-cholesky", "saga")
    },
    "sklearn (defaults)": scikit_learn_at_its_defaults,
}
