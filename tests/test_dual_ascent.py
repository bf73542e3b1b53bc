"""Dual coordinate ascent: its sweeps lead to the optimum, and say how far away it is."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._curvature.choice import Curvature
from sklearn_softmax._objective.linear import SoftmaxObjective
from sklearn_softmax._rows import blocks as _blocks
from sklearn_softmax._rows.blocks import RowBlocks
from sklearn_softmax._solvers import dual_ascent as _dual_ascent
from sklearn_softmax._solvers import lbfgs as _lbfgs

pytest.importorskip("numba")


@pytest.fixture
def any_size(monkeypatch):
    """Have small problems take the way of large ones."""
    monkeypatch.setattr(_blocks, "_COMPILED_SPARSE_WORK", 0)
    monkeypatch.setattr(_dual_ascent, "_LEAST_CURVATURE", 0.0)


def text(n_classes, n_rows=300, n_words=500):
    """Return rows of few words each, of unit norm, and labels that they tell of."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, n_classes, n_rows)
    words = rng.integers(0, n_words, (n_rows, 12))
    words[:, :4] = 7 * y[:, None] + rng.integers(0, 20, (n_rows, 4))
    counts = np.zeros((n_rows, n_words))
    np.add.at(counts, (np.arange(n_rows)[:, None], words), 1.0)
    return sp.csr_matrix(counts / np.linalg.norm(counts, axis=1, keepdims=True)), y


def sweep(objective, tol):
    """Return the states of all sweeps, the start first."""
    size = objective.n_outputs * objective.n_columns
    states, sweeps = [], _dual_ascent.ascend(objective, np.zeros(size), tol=tol)
    while True:
        try:
            states.append(next(sweeps))
        except StopIteration as end:
            return [*states, end.value]


def minimum(objective):
    """Return the minimum of an objective, found by L-BFGS alone."""
    size = objective.n_outputs * objective.n_columns
    *_, state = _lbfgs.lbfgs(objective, Curvature(objective), np.zeros(size), tol=1e-9)
    return state


@pytest.mark.parametrize("C", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("n_classes", [2, 3, 9])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sweeps_lead_to_the_optimum(any_size, C, n_classes, fit_intercept, smoothing):
    X, y = text(n_classes)
    weight = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    with RowBlocks(X, y, weight, n_classes=n_classes) as blocks:
        objective = SoftmaxObjective(
            blocks, C=C, fit_intercept=fit_intercept, label_smoothing=smoothing
        )
        assert _dual_ascent.applies(objective)
        states, best = sweep(objective, tol=1e-6), minimum(objective)
        end = states[-1]
        loss, _ = objective.loss_gradient(end.vector)
    assert [state.n_iter for state in states] == list(range(len(states)))
    if C <= 1:
        assert end.decrement <= 0.5e-12 * loss
        # The gap that the rows showed in turn tells how far the objective is above its minimum.
        assert -1e-12 <= loss - best.loss <= 2 * end.decrement + 1e-12
        for swept, expected in zip(*map(objective.model, (end.vector, best.vector)), strict=True):
            assert_allclose(swept, expected, atol=1e-4 * np.abs(best.vector).max())
    else:
        assert loss <= 1.01 * best.loss


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_fit_agrees_with_that_of_dense_rows(any_size, dtype, index):
    X, y = text(5)
    X = X.astype(dtype)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    names = np.array(list("vwxyz"))[y]
    dense = SoftmaxRegressionClassifier(tol=1e-7).fit(X.toarray().astype(float), names)
    clf = SoftmaxRegressionClassifier(tol=1e-7).fit(X, names)
    assert clf.coef_.dtype == dtype
    assert_allclose(clf.predict_proba(X), dense.predict_proba(X.toarray()), atol=2e-5)
    assert clf.n_iter_[0] == len(clf.loss_curve_)


def test_rows_without_weight_have_no_part(any_size):
    X, y = text(3)
    weight = (np.arange(len(y)) % 3 > 0).astype(float)
    kept = weight > 0
    weighted = SoftmaxRegressionClassifier(tol=1e-7).fit(X, y, sample_weight=weight)
    alone = SoftmaxRegressionClassifier(tol=1e-7).fit(X[kept], y[kept])
    assert_allclose(weighted.coef_, alone.coef_, atol=1e-6)


def test_every_fit_takes_the_same_steps(any_size):
    X, y = text(3)
    first, second = (SoftmaxRegressionClassifier(max_iter=300).fit(X, y) for _ in range(2))
    assert_array_equal(first.coef_, second.coef_)
    assert first.loss_curve_ == second.loss_curve_


def test_max_iter_counts_sweeps(any_size):
    X, y = text(3)
    with pytest.warns(UserWarning, match="did not converge in max_iter=2"):
        clf = SoftmaxRegressionClassifier(max_iter=2).fit(X, y)
    assert clf.n_iter_[0] == len(clf.loss_curve_) == 2


def test_a_warm_start_goes_on_from_its_coefficients(any_size):
    X, y = text(3)
    clf = SoftmaxRegressionClassifier(warm_start=True).fit(X, y)
    assert clf.n_iter_[0] > 0
    before = clf.coef_
    clf.fit(X, y)
    assert clf.n_iter_[0] == 0
    assert_allclose(clf.coef_, before, atol=1e-12)


def test_early_stopping_sees_sweeps(any_size):
    X, y = text(3)
    clf = SoftmaxRegressionClassifier(C=100.0, early_stopping=True, random_state=0).fit(X, y)
    assert len(clf.validation_score_curve_) == clf.n_iter_[0] > 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_without_a_loss_are_an_error(any_size, value):
    X, y = text(3)
    X.data[17] = value
    with pytest.raises(ValueError, match=r"X"):
        SoftmaxRegressionClassifier().fit(X, y)


def test_a_start_that_is_worse_than_none_is_not_taken(any_size, monkeypatch):
    monkeypatch.setattr(_dual_ascent, "_LARGEST_SQUARE", np.inf)
    X, y = text(3)
    X = X.tolil()
    X[::10] *= 3000.0  # long rows, of the same words as others
    X = X.tocsr()
    with RowBlocks(X, y, n_classes=3) as blocks:
        objective = SoftmaxObjective(blocks, C=100.0)
        states = sweep(objective, tol=1e-3)
        loss, _ = objective.loss_gradient(states[-1].vector)
    assert states[-1].loss > np.log(3)
    assert loss == pytest.approx(np.log(3))
    assert states[-1].n_iter == len(states) - 1


def applies_to(X, y, n_classes, C=1.0, l1_ratio=0.0):
    with RowBlocks(X, y, n_classes=n_classes) as blocks:
        return _dual_ascent.applies(SoftmaxObjective(blocks, C=C, l1_ratio=l1_ratio))


def test_only_what_has_the_form_is_swept(any_size, monkeypatch):
    X, y = text(3)
    assert applies_to(X, y, 3)
    assert not applies_to(X, y, 3, C=np.inf)
    assert not applies_to(X, y, 3, l1_ratio=0.5)
    assert not applies_to(X, np.eye(3)[y], 3)
    assert not applies_to(X.toarray(), y, 3)
    long_row = X.multiply(np.where(np.arange(len(y)) == 5, 20.0, 1.0)[:, None]).tocsr()
    assert not applies_to(long_row, y, 3)
    monkeypatch.setattr(_dual_ascent, "_LEAST_CURVATURE", 4.0)
    assert applies_to(X, y, 3, C=4.1 * 3 / len(y))
    assert not applies_to(X, y, 3, C=3.9 * 3 / len(y))
    monkeypatch.setattr(_dual_ascent, "_DUAL_BYTES", 8 * 3 * len(y) - 1)
    assert not applies_to(X, y, 3)
    monkeypatch.setattr(_blocks, "_COMPILED_SPARSE_WORK", np.inf)
    assert not applies_to(X, y, 3)
