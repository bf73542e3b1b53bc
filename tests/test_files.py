"""X in a file: memory maps, and whatever gives an array when its rows are sliced."""

import threading
import tracemalloc

import h5py
import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_classification

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._arrays import portable as _portable
from sklearn_softmax._rows import files as _files
from sklearn_softmax._rows import reading as _reading
from sklearn_softmax._rows import worker_threads as _worker_threads
from sklearn_softmax._rows.files import FileRows

from .optimum import (
    assert_near_optimum,
    assert_same_optimum,
    assert_same_validation,
    converged,
)


class Sliced:
    """What is known of a file: shape, dtype, and arrays for slices of rows."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.readers = set()

    def __getitem__(self, index):
        assert isinstance(index, slice), "rows are read one by one"
        self.readers.add(threading.current_thread().name)
        return self._array[index].copy()


def memory_map(X, folder):
    path = folder / "X.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def hdf5(X, folder):
    return h5py.File(folder / "X.h5", "w").create_dataset("X", data=X, chunks=(100, X.shape[1]))


def hdf5_in_one_piece(X, folder):
    return h5py.File(folder / "X.h5", "w").create_dataset("X", data=X)


def zarr_array(X, folder):
    return zarr.create_array(folder / "X.zarr", data=X, chunks=(70, X.shape[1]))


FORMATS = [memory_map, hdf5, hdf5_in_one_piece, zarr_array, lambda X, folder: Sliced(X)]
MODELS = {
    "lbfgs": converged(),
    "threads": converged(n_jobs=2),
}
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def table():
    X, y = make_classification(3000, 12, n_informative=8, n_classes=3, random_state=0)
    return X * np.logspace(-2, 2, 12) + 3.0, y


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(_files, "_PART_BYTES", 70 << 10)
    monkeypatch.setattr(_worker_threads, "_MIN_WORK", 1000)


@pytest.mark.parametrize("make", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_same_model_as_in_memory(table, tmp_path, name, make):
    X, y = table
    weight = np.random.default_rng(0).random(len(y))
    expected = clone(MODELS[name]).fit(X, y, weight)
    in_file = make(X, tmp_path)
    clf = clone(MODELS[name]).fit(in_file, y, weight)
    assert_same_optimum(clf, expected)
    assert clf.n_features_in_ == 12
    assert_allclose(clf.predict_proba(in_file), expected.predict_proba(X), atol=1e-7)
    assert clf.score(in_file, y) == expected.score(X, y)


@pytest.mark.parametrize("make", FORMATS)
def test_l1(table, tmp_path, make):
    X, y = table
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    clf = converged(l1_ratio=0.5, C=0.01)
    expected = clone(clf).fit(X, y)
    assert_same_optimum(clf.fit(make(X, tmp_path), y), expected)
    assert_array_equal(clf.coef_ == 0, expected.coef_ == 0)


@quiet
@pytest.mark.parametrize("make", FORMATS)
def test_same_steps_of_sgd_as_in_memory(table, tmp_path, make):
    X, y = table
    weight = np.random.default_rng(0).random(len(y))
    clf = SoftmaxRegressionClassifier(solver="sgd", max_iter=3, tol=0.0, random_state=0)
    expected = clone(clf).fit(X, y, weight)
    clf.fit(make(X, tmp_path), y, weight)
    assert_allclose(clf.coef_, expected.coef_, rtol=1e-7, atol=1e-9)
    assert_allclose(clf.loss_curve_, expected.loss_curve_)


@pytest.mark.parametrize("make", FORMATS)
def test_same_rows_set_aside_as_in_memory(table, tmp_path, make):
    X, y = table
    clf = SoftmaxRegressionClassifier(early_stopping=True, random_state=0)
    expected = clone(clf).fit(X, y)
    clf.fit(make(X, tmp_path), y)
    assert_same_validation(clf, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, bool])
@pytest.mark.parametrize("make", FORMATS)
def test_dtypes(table, tmp_path, make, dtype):
    X, y = table
    X = (X - X.min(axis=0)).astype(dtype)
    clf = SoftmaxRegressionClassifier().fit(make(X, tmp_path), y)
    assert clf.coef_.dtype == (np.float32 if dtype == np.float32 else np.float64)
    assert_near_optimum(clf, X, y)


@pytest.mark.parametrize("make", FORMATS)
def test_labels_weights_and_distributions_in_files(table, tmp_path, make):
    X, y = table
    path = tmp_path / "beside"
    path.mkdir()
    weight = np.random.default_rng(0).random(len(y))
    expected = converged(class_weight="balanced").fit(X, y, weight)
    columns = h5py.File(path / "y.h5", "w")
    columns["y"], columns["weight"] = y, weight
    clf = clone(expected).fit(make(X, tmp_path), columns["y"], columns["weight"])
    assert_same_optimum(clf, expected)
    columns["proba"] = np.eye(3)[y]
    clf = clone(expected).fit(make(X, path), columns["proba"], columns["weight"])
    assert_same_optimum(clf, expected)


def test_streams(table, tmp_path):
    X, y = table
    options = {"shuffle": False, "random_state": 0}
    expected, clf = (SoftmaxRegressionClassifier(**options) for _ in range(2))
    in_file = hdf5(X, tmp_path)
    for rows in (slice(0, 1500), slice(1500, 3000)):
        expected.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        clf.partial_fit(in_file[rows], y[rows], classes=[0, 1, 2])
    assert_array_equal(clf.coef_, expected.coef_)
    whole = clone(clf).partial_fit(in_file, y, classes=[0, 1, 2])
    # (The moments of a file are summed in other parts.)
    in_memory = clone(clf).partial_fit(X, y, classes=[0, 1, 2])
    assert_allclose(whole.coef_, in_memory.coef_, rtol=1e-9)


def test_a_thread_reads_ahead(table):
    X, y = table
    in_file, n_threads = Sliced(X), threading.active_count()
    SoftmaxRegressionClassifier().fit(in_file, y)
    assert len(in_file.readers) > 1
    assert threading.active_count() == n_threads


@quiet
def test_little_is_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_PART_BYTES", 1 << 20)
    y = np.arange(100_000) % 3
    X = np.random.default_rng(0).standard_normal((100_000, 100), dtype=np.float32)
    X[:, 0] += y
    in_file = hdf5(X, tmp_path)
    for clf in (
        SoftmaxRegressionClassifier(),
        SoftmaxRegressionClassifier(solver="sgd", max_iter=2),
    ):
        tracemalloc.start()
        clf.fit(in_file, y)
        clf.predict(in_file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.6 * X.nbytes  # (a sample for the curvature in float64: 0.4)


@pytest.mark.parametrize("make", FORMATS)
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_what_is_not_finite_is_told(table, tmp_path, make, solver):
    X, y = table
    clf = SoftmaxRegressionClassifier(solver=solver).fit(X, y)
    before = clf.coef_
    X = X.copy()
    X[2500, 3] = np.nan
    bad = make(X, tmp_path)
    with pytest.raises(ValueError, match="X contains NaN"):
        clf.fit(bad, y)
    assert clf.coef_ is before
    with pytest.raises(ValueError, match="X contains NaN"):
        clf.predict(bad)


def test_what_is_no_table_is_refused(table):
    X, y = table
    clf = SoftmaxRegressionClassifier()
    with pytest.raises(ValueError, match=r"two dimensions.*\(3000, 12, 1\)"):
        clf.fit(Sliced(X[:, :, None]), y)
    with pytest.raises(ValueError, match="at least one sample"):
        clf.fit(Sliced(X[:0]), y[:0])
    with pytest.raises(ValueError, match=r"must hold numbers.*complex128"):
        clf.fit(Sliced(X + 0j), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clf.fit(Sliced(X), y[:-1])
    clf.fit(Sliced(X), y)
    with pytest.raises(ValueError, match="X has 11 features"):
        clf.predict(Sliced(X[:, 1:]))


def test_only_what_is_no_array_is_sliced(table):
    X, _ = table
    assert _portable.is_sliceable(Sliced(X))
    for other in (X, X[0, 0], X.tolist(), None):
        assert not _portable.is_sliceable(other)


@pytest.mark.parametrize("n_rows", [100, 5000])
def test_rows_of_files_are_shuffled_in_runs(monkeypatch, tmp_path, n_rows):
    """Each row once; and each window of batches from few runs of the file."""
    monkeypatch.setattr(_reading, "_RUN_BYTES", 80)
    X = np.arange(2.0 * n_rows).reshape(n_rows, 2)
    order = FileRows(Sliced(X), n_classes=2).order(np.random.default_rng(0))
    assert_array_equal(np.sort(order), np.arange(n_rows))
    assert (np.diff(order) != 1).mean() > 0.9
    window = order[: 5 * _reading._WINDOW_RUNS]
    assert len(np.unique(window // 5)) <= _reading._WINDOW_RUNS + 1


def test_any_rows_are_gathered(table):
    X, _ = table
    rows = FileRows(Sliced(X), n_classes=2)
    index = np.random.default_rng(0).integers(0, len(X), 500)
    assert_array_equal(rows.take(index).X, X[index])
