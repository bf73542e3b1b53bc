"""The compiled loops compute what NumPy computes, on every kind of X that they take."""

import importlib.util

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._arrays import native as _native
from sklearn_softmax._objective import linear as _linear
from sklearn_softmax._objective.linear import SoftmaxObjective
from sklearn_softmax._objective.scaling import Scaling
from sklearn_softmax._rows import block_size as _block_size
from sklearn_softmax._rows import blocks as _blocks
from sklearn_softmax._rows import worker_threads as _worker_threads
from sklearn_softmax._rows.blocks import RowBlocks

_compiled = pytest.importorskip("sklearn_softmax._arrays.compiled", exc_type=ImportError)


def set_threshold(monkeypatch, work):
    monkeypatch.setattr(_linear, "_COMPILED_WORK", work)
    monkeypatch.setattr(_blocks, "_COMPILED_SPARSE_WORK", work)


def as_given(X):
    return X


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def every_other_column(X):
    return np.repeat(X, 2, axis=1)[:, ::2]


def sparse(X):
    return sp.csr_matrix(X)


def sparse_with_long_indices(X):
    X = sp.csr_matrix(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def loss_gradients(monkeypatch, X, y, weight, n_classes, **options):
    """Return (loss, gradient) of the compiled loops and of NumPy."""
    results = []
    for work in (0, np.inf):
        set_threshold(monkeypatch, work)
        with RowBlocks(X, y, weight, n_classes=n_classes) as blocks:
            objective = SoftmaxObjective(blocks, C=1.0, scaling=Scaling.unscaled(), **options)
            assert objective.is_compiled == (work == 0)
            size = objective.n_outputs * objective.n_columns
            vector = np.random.default_rng(1).standard_normal(size)
            results.append(objective.loss_gradient(vector))
    return results


def assert_same_as_numpy(rng, monkeypatch, X, n_classes, **options):
    """Compare losses and gradients, with weights and smoothed labels."""
    y, weight = rng.integers(0, n_classes, 101), rng.integers(0, 3, 101).astype(float)
    compiled, expected = loss_gradients(
        monkeypatch, X, y, weight, n_classes, label_smoothing=0.1, **options
    )
    tol = 1e-5 if X.dtype == "float32" else 1e-13
    assert_allclose(compiled[0], expected[0], rtol=tol)
    assert_allclose(compiled[1], expected[1], rtol=tol, atol=tol)


@pytest.mark.parametrize("make", [as_given, read_only, np.asfortranarray, every_other_column])
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int64", "bool"])
@pytest.mark.parametrize("n_classes", [2, 3, 9])
def test_dense_rows(rng, monkeypatch, make, dtype, n_classes):
    X = make((4 * rng.random((101, 19))).astype(dtype))
    assert_same_as_numpy(rng, monkeypatch, X, n_classes, fit_intercept=True)


@pytest.mark.parametrize("make", [sparse, sparse_with_long_indices])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_classes", [2, 3, 9])
def test_sparse_rows(rng, monkeypatch, make, dtype, n_classes):
    X = make((rng.random((101, 19)) * (rng.random((101, 19)) < 0.2)).astype(dtype))
    assert_same_as_numpy(rng, monkeypatch, X, n_classes, fit_intercept=False)


@pytest.mark.parametrize("n_rows", [2, 3, 4, 5, 31, 32, 33, 67])
def test_any_number_of_rows(rng, monkeypatch, n_rows):
    X, y = rng.standard_normal((n_rows, 5)), rng.integers(0, 4, n_rows)
    for make in (as_given, sparse):
        compiled, expected = loss_gradients(monkeypatch, make(X), y, None, 4)
        assert_allclose(compiled[0], expected[0], rtol=1e-13)
        assert_allclose(compiled[1], expected[1], atol=1e-13)


def test_memory_map(rng, monkeypatch, tmp_path):
    np.save(tmp_path / "X.npy", rng.standard_normal((50, 6)))
    X, y = np.load(tmp_path / "X.npy", mmap_mode="r"), rng.integers(0, 3, 50)
    compiled, expected = loss_gradients(monkeypatch, X, y, None, 3)
    assert_allclose(compiled[1], expected[1], atol=1e-13)


@pytest.mark.parametrize("make", [as_given, sparse])
def test_threads_and_blocks_change_nothing_but_rounding(rng, monkeypatch, make):
    set_threshold(monkeypatch, 0)
    monkeypatch.setattr(_worker_threads, "_MIN_WORK", 0)
    monkeypatch.setattr(_block_size, "MIN_COMPILED_ROWS", 100)
    X, y = make(rng.standard_normal((1500, 5))), rng.integers(0, 3, 1500)
    gradients = []
    for n_jobs in (1, 2, 3):
        with RowBlocks(X, y, n_classes=3, n_jobs=n_jobs) as blocks:
            objective = SoftmaxObjective(blocks, C=1.0)
            vector = np.linspace(-1, 1, objective.n_outputs * objective.n_columns)
            gradients.append(objective.loss_gradient(vector)[1])
            assert np.array_equal(gradients[-1], objective.loss_gradient(vector)[1])
    assert_allclose(gradients[1], gradients[0], rtol=1e-12, atol=1e-15)
    assert_allclose(gradients[2], gradients[0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("make", [as_given, sparse])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308])
def test_what_is_not_finite_shows_in_the_loss(rng, monkeypatch, make, value):
    X, y = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    X[7, 2] = value
    X[7, 3] = -value
    set_threshold(monkeypatch, 0)
    with RowBlocks(make(X), y, n_classes=3) as blocks:
        objective = SoftmaxObjective(blocks, C=1.0, scaling=Scaling.unscaled())
        loss, _ = objective.loss_gradient(10 * rng.standard_normal(18))
    assert not np.isfinite(loss)


@pytest.mark.parametrize("n_classes", [2, 3, 9])
def test_hessian_diagonal_of_sparse_rows(rng, monkeypatch, n_classes):
    X, y = sparse(rng.random((101, 19))), rng.integers(0, n_classes, 101)
    diagonals = []
    for work in (0, np.inf):
        set_threshold(monkeypatch, work)
        with RowBlocks(X, y, n_classes=n_classes) as blocks:
            objective = SoftmaxObjective(blocks, C=1.0)
            vector = np.linspace(-1, 1, objective.n_outputs * objective.n_columns)
            diagonals.append(objective.hessian_diagonal(vector))
    assert_allclose(diagonals[0], diagonals[1], rtol=1e-12)


def test_exp_is_exact_to_the_last_digit():
    x = -np.concatenate([np.linspace(0, 1, 1001), np.geomspace(1e-300, 700, 1001)])
    assert_allclose([_compiled._exp(v) for v in x], np.exp(x), rtol=3e-16)
    assert _compiled._exp(-1e4) < 1e-300
    assert np.isnan(_compiled._exp(np.nan))


@pytest.mark.parametrize("make", [as_given, sparse])
def test_the_model_is_the_same(monkeypatch, make):
    X, y = load_digits(return_X_y=True)
    models, proba = [], []
    for work in (0, np.inf):
        set_threshold(monkeypatch, work)
        models.append(SoftmaxRegressionClassifier(C=0.01, tol=1e-8).fit(make(X), y))
        proba.append(models[0].predict_proba(make(X)))
    assert_allclose(models[0].coef_, models[1].coef_, atol=1e-7)
    assert_allclose(proba[0], proba[1], rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("make", [as_given, sparse])
def test_sgd_takes_the_same_steps(monkeypatch, make, average, l1_ratio):
    X, y = load_digits(return_X_y=True)
    options = {"solver": "sgd", "l1_ratio": l1_ratio, "average": average, "random_state": 0}
    models = []
    for work in (0, np.inf):
        set_threshold(monkeypatch, work)
        clf = SoftmaxRegressionClassifier(**options, max_iter=2, C=0.1)
        models.append(clf.fit(make(X), y))
    assert_allclose(models[0].coef_, models[1].coef_, atol=1e-10)
    assert_array_equal(models[0].coef_ == 0, models[1].coef_ == 0)


def test_numba_may_be_missing(monkeypatch):
    set_threshold(monkeypatch, 0)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "numba" else find_spec(name)
    )
    _native.compiled_loops.cache_clear()
    X, y = load_digits(return_X_y=True)
    try:
        for make in (as_given, sparse):
            with RowBlocks(make(X), y, n_classes=10) as blocks:
                assert not SoftmaxObjective(blocks, C=1.0).is_compiled
            assert SoftmaxRegressionClassifier().fit(make(X), y).score(X, y) > 0.99
    finally:
        _native.compiled_loops.cache_clear()


@pytest.mark.parametrize("dtype", ["float64", "uint8"])
@pytest.mark.parametrize("work", [0, np.inf])
def test_a_start_in_float32_changes_nothing_of_the_result(monkeypatch, dtype, work):
    X, y = load_digits(return_X_y=True)
    X = X.astype(dtype)
    set_threshold(monkeypatch, work)
    models = []
    for rough_work in (np.inf, 0):
        monkeypatch.setattr(_linear, "_ROUGH_WORK", rough_work)
        models.append(SoftmaxRegressionClassifier(C=0.01, tol=1e-8).fit(X, y))
    assert models[0].loss_curve_ != models[1].loss_curve_
    assert_allclose(models[0].coef_, models[1].coef_, atol=1e-7)


def test_float32_is_not_for_every_start(rng, monkeypatch):
    monkeypatch.setattr(_linear, "_ROUGH_WORK", 0)
    X, y = rng.standard_normal((50, 6)), rng.integers(0, 3, 50)

    def has_rough(X):
        with RowBlocks(X, y, n_classes=3) as blocks:
            return SoftmaxObjective(blocks, C=1.0).rough() is not None

    assert has_rough(X)
    assert not has_rough(X.astype(np.float32))  # it is in float32 already
    assert not has_rough(sparse(X))
    assert not has_rough(X + 1e4)  # float32 has not digits enough for the mean and the rest
    assert not has_rough(X * 1e30)
