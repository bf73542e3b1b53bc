"""Rows that are fewer than the features: the same optimum, found in the space they span."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._objective import principal_components as _principal_components
from sklearn_softmax._rows.blocks import RowBlocks


def wide(n_rows=40, n_features=300, n_classes=3):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((n_rows, n_features)) + 3.0
    return X, rng.integers(0, n_classes, n_rows)


def fit_both(monkeypatch, X, y, sample_weight=None, **options):
    """Return a model found in the span, and one found among the features."""
    models = []
    for span_bytes in (64 << 20, 0):
        monkeypatch.setattr(_principal_components, "_SPAN_BYTES", span_bytes)
        clf = SoftmaxRegressionClassifier(tol=1e-8, max_iter=2000, **options)
        models.append(clf.fit(X, y, sample_weight=sample_weight))
    return models


def takes_span(X, y, n_classes, C=1.0):
    with RowBlocks(X, y, n_classes=n_classes) as blocks:
        return _principal_components.row_span(blocks, center=True, C=C) is not None


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_same_optimum(monkeypatch, C, n_classes, fit_intercept):
    X, y = wide(n_classes=n_classes)
    weight = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    inside, outside = fit_both(monkeypatch, X, y, weight, C=C, fit_intercept=fit_intercept)
    assert inside.n_iter_[0] > 0
    size = np.abs(outside.coef_).max()
    assert_allclose(inside.coef_, outside.coef_, atol=2e-4 * size)
    assert_allclose(inside.intercept_, outside.intercept_, atol=1e-3 * size)
    assert_allclose(inside.loss_curve_[-1], outside.loss_curve_[-1], rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
@pytest.mark.parametrize("make", [np.asfortranarray, lambda X: np.repeat(X, 2, axis=1)[:, ::2]])
def test_any_array(monkeypatch, dtype, make):
    X, y = wide()
    X = make((10 * X).astype(dtype))
    X.flags.writeable = False
    inside, _ = fit_both(monkeypatch, X, y)
    _, exact = fit_both(monkeypatch, X.astype(float), y)
    assert inside.coef_.dtype == (dtype if dtype == "float32" else "float64")
    assert_allclose(inside.coef_, exact.coef_, atol=1e-4 * np.abs(exact.coef_).max())


def test_soft_labels_smoothing_and_class_weights(monkeypatch):
    X, _ = wide()
    y = np.random.default_rng(1).dirichlet(np.ones(3), len(X))
    options = {"label_smoothing": 0.1, "class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}
    inside, outside = fit_both(monkeypatch, X, y, **options)
    assert_allclose(inside.coef_, outside.coef_, atol=1e-6)


def test_dependent_rows(monkeypatch):
    X, y = wide()
    X, y = np.vstack([X, X[:15]]), np.append(y, y[:15])  # as a bootstrap sample has them
    assert takes_span(X, y, 3)
    inside, outside = fit_both(monkeypatch, X, y)
    assert_allclose(inside.coef_, outside.coef_, atol=1e-6)


def test_a_warm_start_is_where_the_last_fit_ended():
    X, y = wide()
    clf = SoftmaxRegressionClassifier(warm_start=True, tol=1e-8).fit(X, y)
    before = clf.coef_
    clf.fit(X, y)
    assert clf.n_iter_[0] == 0
    assert_allclose(clf.coef_, before, atol=1e-12)


def test_what_rounding_hides_is_not_left_out(monkeypatch):
    X, y = wide()
    X[:, 0] *= 1e9  # beside this feature the others are no part of the variance
    X[:, 1:] += 0.3 * np.eye(3)[y][:, np.arange(299) % 3]
    assert not takes_span(X, y, 3)
    inside, outside = fit_both(monkeypatch, X, y)
    assert_allclose(inside.coef_[:, 1:], outside.coef_[:, 1:], atol=1e-9)


def test_early_stopping(monkeypatch):
    X, y = wide(n_rows=80)
    clf = SoftmaxRegressionClassifier(early_stopping=True, random_state=0).fit(X, y)
    assert len(clf.validation_score_curve_) == clf.n_iter_[0] > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_values_that_cannot_be_squared_are_an_error(value):
    X, y = wide()
    X[3, 5] = value
    with pytest.raises(ValueError, match="X"):
        SoftmaxRegressionClassifier().fit(X, y)


def test_only_where_it_pays():
    X, y = wide()
    assert takes_span(X, y, 3)
    assert not takes_span(X[:, :42], y, 3)  # the eigenvectors cost more than they save
    assert not takes_span(X[:, :30], y, 3)
    assert not takes_span(np.zeros_like(X), y, 3)
