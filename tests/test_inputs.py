"""Every kind of X gives the same model, and none is copied or changed."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklearn_softmax import SoftmaxRegressionClassifier, _prediction

from .optimum import assert_near_optimum, assert_same_optimum

pytestmark = pytest.mark.usefixtures("both_ways")

SOLVERS = [{"solver": "lbfgs"}, {"solver": "sgd", "max_iter": 300, "random_state": 0}]


def read_only(X, tmp_path):
    X = X.copy()
    X.flags.writeable = False
    return X


def memory_mapped(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


DENSE = {
    "fortran": lambda X, _: np.asfortranarray(X),
    "every second row and column": lambda X, _: np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    "reversed": lambda X, _: X[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": read_only,
    "memory-mapped": memory_mapped,
    "lists": lambda X, _: X.tolist(),
    "pandas": lambda X, _: pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])]),
    "polars": lambda X, _: pl.DataFrame(X, schema=[f"f{i}" for i in range(X.shape[1])]),
}


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("options", SOLVERS, ids=["lbfgs", "sgd"])
def test_dense_containers(wine, tmp_path, name, options):
    X, y = wine
    expected = SoftmaxRegressionClassifier(**options).fit(X, y)
    given = DENSE[name](X, tmp_path)
    clf = SoftmaxRegressionClassifier(**options).fit(given, y)
    assert_allclose(clf.coef_, expected.coef_, rtol=1e-6)
    assert_allclose(clf.predict_proba(given), expected.predict_proba(X), atol=1e-8)
    if name in ("pandas", "polars"):
        assert_array_equal(clf.feature_names_in_, [f"f{i}" for i in range(X.shape[1])])


def with_int64_indices(X, tmp_path):
    X = sp.csr_matrix(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


SPARSE = {
    "csr_matrix": lambda X, _: sp.csr_matrix(X),
    "csr_array": lambda X, _: sp.csr_array(X),
    "csc_matrix": lambda X, _: sp.csc_matrix(X),
    "csc_array": lambda X, _: sp.csc_array(X),
    "coo_array": lambda X, _: sp.coo_array(X),
    "int64 indices": with_int64_indices,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8])
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_sparse_containers(tmp_path, name, dtype, solver):
    X, y = load_digits(return_X_y=True)
    X, y = X[:300, 20:40], y[:300] % 3
    options = {"solver": solver, "random_state": 0, "learning_rate_init": "auto", "tol": 1e-8}
    if solver == "sgd":  # only "auto" scales dense features, and not sparse ones
        options.update(learning_rate_init=0.001, max_iter=20, learning_rate="constant", tol=0)
        options.update(momentum=0.0)  # that of a sparse feature rests while it does not occur
    expected = SoftmaxRegressionClassifier(**options)
    clf = clone(expected)
    expected.fit(X.astype(dtype), y)
    given = SPARSE[name](X.astype(dtype), tmp_path)
    data = given.data.copy()
    clf.fit(given, y)
    tolerance = 1e-3 if dtype == np.float32 else 1e-4
    assert_allclose(clf.predict_proba(given), expected.predict_proba(X), atol=tolerance)
    assert_array_equal(given.data, data)
    assert clf.coef_.dtype == (np.float32 if dtype == np.float32 else np.float64)


# Until the optimum; and the steps of an epoch.
ROUTES = [{"tol": 1e-8}, {"solver": "sgd", "max_iter": 1, "random_state": 0}]
same_route = pytest.mark.parametrize("options", ROUTES, ids=["lbfgs", "sgd"])
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@quiet
@same_route
def test_float16_is_computed_in_float32(options):
    X, y = load_digits(return_X_y=True)
    clf = SoftmaxRegressionClassifier(**{**options, "tol": 1e-4}).fit(X.astype(np.float16), y)
    assert clf.coef_.dtype == np.float32
    assert clf.predict_proba(X.astype(np.float16)).dtype == np.float32
    if clf.solver == "lbfgs":
        assert_near_optimum(clf, X, y)
    else:
        expected = SoftmaxRegressionClassifier(**options).fit(X.astype(np.float32), y)
        assert_allclose(clf.coef_, expected.coef_, rtol=1e-4, atol=1e-4)


@quiet
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64])
@same_route
def test_other_dtypes_are_computed_in_float64(dtype, options):
    X, y = load_digits(return_X_y=True)
    X = (X > 8) if dtype is bool else X.astype(dtype)
    clf = SoftmaxRegressionClassifier(**options).fit(X[:500], y[:500])
    expected = SoftmaxRegressionClassifier(**options).fit(X[:500].astype(float), y[:500])
    assert clf.coef_.dtype == np.float64
    assert_same_optimum(clf, expected)
    assert clf.predict_proba(X).dtype == np.float64
    assert_array_equal(clf.predict(X), expected.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("options", SOLVERS, ids=["lbfgs", "sgd"])
@pytest.mark.parametrize("kind", ["float64", "uint8", "fortran", "csr"])
def test_memory_above_X(options, kind):
    """X is not copied, nor are arrays of rows x classes made."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (40_000, 50), dtype=np.uint8), rng.integers(0, 10, 40_000)
    X = {
        "float64": X.astype(float),
        "uint8": X,
        "fortran": np.asfortranarray(X, dtype=float),
        "csr": sp.csr_array(X * (X > 128.0)),
    }[kind]
    clf = SoftmaxRegressionClassifier(**{**options, "max_iter": 3, "n_jobs": 1})
    clf.fit(X[:1000], y[:1000]) if kind == "csr" else None  # imports and caches
    tracemalloc.start()
    clf.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    copy_in_float64 = 40_000 * 50 * 8
    assert peak < 0.7 * copy_in_float64


@pytest.mark.parametrize("options", SOLVERS, ids=["lbfgs", "sgd"])
def test_arguments_are_left_as_they_were(wine, options):
    X, y = wine
    weight = np.linspace(0, 1, len(y))
    soft = np.eye(3)[y]
    before = [array.copy() for array in (X, y, weight, soft)]
    clf = SoftmaxRegressionClassifier(class_weight="balanced", **options)
    clf.fit(X, y, weight).fit(X, soft, weight)
    clf.predict_proba(X)
    for array, copy in zip((X, y, weight, soft), before, strict=True):
        assert_array_equal(array, copy)


@pytest.mark.parametrize("options", SOLVERS, ids=["lbfgs", "sgd"])
def test_same_data_same_bits(wine, options):
    X, y = wine
    first, second = (SoftmaxRegressionClassifier(**options).fit(X, y) for _ in range(2))
    assert_array_equal(first.coef_, second.coef_)
    assert first.loss_curve_ == second.loss_curve_


def test_pickled_cloned_and_printed(wine):
    X, y = wine
    clf = SoftmaxRegressionClassifier(C=2.0).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), clf.predict_proba(X))
    assert clone(clf).get_params() == clf.get_params()
    assert repr(clf) == "SoftmaxRegressionClassifier(C=2.0)"
    assert "SoftmaxRegressionClassifier" in clf._repr_html_()


def test_sparsified_coefficients_predict(wine):
    X, y = wine
    clf = SoftmaxRegressionClassifier(l1_ratio=1).fit(X, y)
    expected = clf.predict_proba(X)
    clf.sparsify()
    assert sp.issparse(clf.coef_)
    assert_array_equal(clf.predict_proba(X), expected)
    clf.set_params(warm_start=True).fit(X, y)
    assert_allclose(clf.predict_proba(X), expected, atol=1e-3)


def test_log_probabilities_are_finite_where_probabilities_underflow():
    X = np.array([[0.0], [1.0], [2.0]])
    clf = SoftmaxRegressionClassifier().fit(X, [0, 1, 2])
    far = np.array([[1e5]])
    assert clf.predict_proba(far)[0, 0] == 0
    assert np.isfinite(clf.predict_log_proba(far)).all()
    assert_allclose(clf.predict_log_proba(X), np.log(clf.predict_proba(X)))


def test_decision_function_shapes(wine, cancer):
    X, y = wine
    clf = SoftmaxRegressionClassifier().fit(X, y)
    assert_allclose(clf.decision_function(X), X @ clf.coef_.T + clf.intercept_)
    X, y = cancer
    clf.fit(X, y)
    assert clf.coef_.shape == (1, X.shape[1])
    assert_allclose(clf.decision_function(X), (X @ clf.coef_.T + clf.intercept_)[:, 0])


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
def test_number_of_threads(n_jobs):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20_000, 60)), rng.integers(0, 5, 20_000)
    expected = SoftmaxRegressionClassifier(n_jobs=1).fit(X, y)
    clf = SoftmaxRegressionClassifier(n_jobs=n_jobs).fit(X, y)
    assert_allclose(clf.coef_, expected.coef_, rtol=0, atol=1e-13)
    assert_allclose(clf.predict_proba(X), expected.predict_proba(X), rtol=0, atol=1e-13)


@pytest.mark.parametrize("n_classes", [2, 3, 99, 100, 101, 150])
def test_the_first_of_equal_logits_is_predicted(rng, n_classes):
    logits = rng.integers(0, 5, (n_classes, 500)).astype(float)
    assert_array_equal(_prediction.most_probable(logits), logits.argmax(axis=0))
