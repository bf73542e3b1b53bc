"""The optimum is LogisticRegression's, at tight tolerance."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from sklearn_softmax import SoftmaxRegressionClassifier

from .optimum import logistic_regression

pytestmark = pytest.mark.usefixtures("both_ways")

SCALES = np.array([1.0, 30.0, 0.05, 1.0, 3.0])


def make_data(n_classes, *, scales=SCALES, n_rows=240):
    """Overlapping classes, so that there is an optimum without a penalty too."""
    rng = np.random.default_rng(n_classes)
    y = rng.integers(0, n_classes, n_rows)
    X = rng.standard_normal((n_rows, 5)) + 0.7 * rng.standard_normal((n_classes, 5))[y]
    X[rng.random(X.shape) < 0.4] = 0.0
    return X * scales, y, rng.integers(0, 4, n_rows).astype(float)


def assert_same_model(ours, reference, X, *, tolerance):
    scale = X.std(axis=0)  # compare the effects of features, which have one unit
    assert ours.coef_.shape == reference.coef_.shape
    assert ours.intercept_.shape == reference.intercept_.shape
    assert_allclose(ours.coef_ * scale, reference.coef_ * scale, atol=tolerance)
    assert_allclose(ours.intercept_, reference.intercept_, atol=tolerance)
    assert_allclose(ours.predict_proba(X), reference.predict_proba(X), atol=tolerance)
    assert_array_equal(ours.classes_, reference.classes_)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0}])
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3, np.inf])
@pytest.mark.parametrize("sparse", [False, True])
def test_l2(n_classes, fit_intercept, weighted, class_weight, C, sparse):
    X, y, weight = make_data(n_classes)
    options = {"C": C, "fit_intercept": fit_intercept, "class_weight": class_weight}
    weight = weight if weighted else None
    with warnings.catch_warnings():  # it warns that a step could not be improved further
        warnings.simplefilter("ignore")
        reference = LogisticRegression(
            solver="newton-cholesky", tol=1e-13, max_iter=1000, **options
        ).fit(X, y, weight)
    ours = SoftmaxRegressionClassifier(tol=1e-8, **options)
    ours.fit(sp.csr_matrix(X) if sparse else X, y, weight)
    assert_same_model(ours, reference, X, tolerance=1e-7)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("sparse", [False, True])
def test_l2_in_float32(n_classes, weighted, C, sparse):
    X, y, weight = make_data(n_classes)
    weight = weight if weighted else None
    reference = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000, C=C).fit(
        X, y, weight
    )
    X32 = X.astype(np.float32)
    ours = SoftmaxRegressionClassifier(C=C).fit(sp.csr_matrix(X32) if sparse else X32, y, weight)
    assert ours.coef_.dtype == ours.intercept_.dtype == np.float32
    assert ours.predict_proba(X32).dtype == np.float32
    assert_same_model(ours, reference, X, tolerance=2e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("C", [0.05, 1.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_l1_and_elastic_net(n_classes, l1_ratio, fit_intercept, weighted, C, sparse):
    X, y, weight = make_data(n_classes, scales=np.array([1.0, 2.0, 0.5, 1.0, 1.0]))
    options = {"C": C, "l1_ratio": l1_ratio, "fit_intercept": fit_intercept}
    # saga's step sizes do not see weights, so it gets the rows repeated instead.
    repeated = np.repeat(np.arange(len(y)), weight.astype(int) if weighted else 1)
    reference = logistic_regression(solver="saga", tol=1e-10, max_iter=100_000, **options)
    reference.fit(X[repeated], y[repeated])
    ours = SoftmaxRegressionClassifier(tol=1e-8, **options)
    ours.fit(sp.csr_matrix(X) if sparse else X, y, weight if weighted else None)
    assert_same_model(ours, reference, X, tolerance=1e-6)
    assert_array_equal(ours.coef_ == 0, np.abs(reference.coef_) < 1e-9)


def test_l1_of_many_noise_features_is_sparse():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 50)), rng.integers(0, 3, 200)
    X[:, :2] += np.eye(3)[y][:, :2] * 3
    clf = SoftmaxRegressionClassifier(l1_ratio=1, C=0.1).fit(X, y)
    assert (clf.coef_[:, 2:] == 0).mean() > 0.9
    assert (clf.coef_[:, :2] != 0).any()


@pytest.mark.parametrize("name", ["wine", "cancer", "iris"])
def test_raw_data_at_the_defaults(name, request):
    """No warning (they are errors here), and not a worse objective than any solver's."""
    X, y = request.getfixturevalue(name)
    ours = SoftmaxRegressionClassifier().fit(X, y)
    best = np.inf
    for solver in ("lbfgs", "newton-cg", "newton-cholesky"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clf = LogisticRegression(solver=solver, max_iter=300).fit(X, y)
        best = min(best, objective_of(clf, X, y))
    assert objective_of(ours, X, y) <= best * (1 + 1e-7)


def objective_of(clf, X, y):
    log_proba = clf.predict_log_proba(X)
    loss = -log_proba[np.arange(len(y)), np.searchsorted(clf.classes_, y)].sum()
    return loss + 0.5 * (clf.coef_**2).sum()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_large_offsets_and_constant_columns(n_classes):
    X, y, _ = make_data(n_classes)
    reference = SoftmaxRegressionClassifier(tol=1e-8).fit(X, y)
    shifted = np.column_stack([X + 1e5, np.full(len(y), 7.0)])
    ours = SoftmaxRegressionClassifier(tol=1e-8).fit(shifted, y)
    assert_allclose(ours.coef_[:, :5], reference.coef_, atol=1e-6)
    assert_allclose(ours.coef_[:, 5], 0, atol=1e-12)


def test_fewer_rows_than_features():
    rng = np.random.default_rng(0)
    X, y = (
        rng.standard_normal((60, 300)) @ rng.standard_normal((300, 300)),
        rng.integers(0, 3, 60),
    )
    reference = LogisticRegression(solver="newton-cg", tol=1e-10, max_iter=1000).fit(X, y)
    ours = SoftmaxRegressionClassifier(tol=1e-8).fit(X, y)
    assert_allclose(ours.coef_, reference.coef_, atol=1e-6)


def test_separable_without_penalty_ends_quietly():
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    clf = SoftmaxRegressionClassifier(C=np.inf).fit(X, [0, 0, 1, 1])
    assert clf.loss_curve_[-1] < 1e-6
    assert clf.score(X, [0, 0, 1, 1]) == 1
    assert np.isfinite(clf.coef_).all()
