"""The whole behaviour on arrays of other libraries, beside the same on NumPy's.

array-api-strict shows that the core uses the standard alone and that nothing changes device;
PyTorch is a real second library; CuPy and PyTorch on a GPU run where there is one.
"""

import os
import pickle
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklearn_softmax import (
    SoftmaxRegressionClassifier,
    _classifier,
    _prediction,
    _predictor,
    _validation,
    functional,
)
from sklearn_softmax._arrays import portable as _portable
from sklearn_softmax._objective import linear as _linear
from sklearn_softmax._rows import dispatch as _dispatch

from .optimum import (
    assert_near_optimum,
    assert_same_optimum,
    assert_same_validation,
    converged,
)

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def strict(array):
    xp = pytest.importorskip("array_api_strict")
    return xp.asarray(array, device=xp.Device("device1"))


def torch_cpu(array):
    return pytest.importorskip("torch").asarray(array)


def torch_cuda(array):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.asarray(array, device="cuda")


def cupy(array):
    library = pytest.importorskip("cupy")
    if not library.is_available():
        pytest.skip("no CUDA device")
    return library.asarray(array)


BACKENDS = [
    strict,
    torch_cpu,
    pytest.param(torch_cuda, marks=pytest.mark.gpu),
    pytest.param(cupy, marks=pytest.mark.gpu),
]
every_backend = pytest.mark.parametrize("move", BACKENDS)


@pytest.fixture(scope="module")
def table():
    X, y = make_classification(
        1500, 12, n_informative=8, n_redundant=0, n_classes=3, random_state=0
    )
    weight = np.random.default_rng(0).random(len(y))
    return X * np.logspace(-2, 2, 12) + 3.0, y, weight


MODELS = {
    "default": {},
    "no intercept": {"fit_intercept": False, "label_smoothing": 0.1},
    "l1": {"l1_ratio": 0.5, "C": 0.01},
    "no penalty": {"C": np.inf},
    "balanced": {"class_weight": "balanced"},
}
# Three epochs of the same steps.
SGD = {"solver": "sgd", "max_iter": 3, "random_state": 0}
SGD_MODELS = {
    "auto": SGD,
    "l1": {**SGD, "l1_ratio": 0.5},
    "rate": {**SGD, "learning_rate_init": 1e-4},
}


def assert_same_model(clf, expected, **tolerance):
    tolerance = {"rtol": 1e-6, "atol": 1e-8, **tolerance}
    for name in ("coef_", "intercept_", "classes_"):
        assert type(getattr(clf, name)) is np.ndarray
    assert_array_equal(clf.classes_, expected.classes_)
    assert_allclose(clf.coef_, expected.coef_, **tolerance)
    assert_allclose(clf.intercept_, expected.intercept_, **tolerance)


@every_backend
@pytest.mark.parametrize("name", MODELS)
def test_same_model_as_numpy(table, move, name):
    X, y, weight = table
    if name == "l1":
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = converged(**MODELS[name]).fit(X, y, weight)
    clf = converged(**MODELS[name]).fit(move(X), move(y), move(weight))
    assert type(clf.coef_) is type(clf.intercept_) is np.ndarray
    assert_same_optimum(clf, expected)


@quiet
@every_backend
@pytest.mark.parametrize("name", SGD_MODELS)
def test_same_steps_of_sgd_as_numpy(table, move, name):
    X, y, weight = table
    expected = SoftmaxRegressionClassifier(**SGD_MODELS[name]).fit(X, y, weight)
    clf = SoftmaxRegressionClassifier(**SGD_MODELS[name]).fit(move(X), move(y), move(weight))
    assert_same_model(clf, expected)
    assert_allclose(clf.loss_curve_, expected.loss_curve_, rtol=1e-8)
    assert_array_equal(clf.n_iter_, expected.n_iter_)


@every_backend
def test_same_rows_set_aside_as_numpy(table, move):
    X, y, weight = table
    clf = SoftmaxRegressionClassifier(early_stopping=True, random_state=0)
    expected = clone(clf).fit(X, y, weight)
    assert_same_validation(clf.fit(move(X), move(y), move(weight)), expected)


@every_backend
@pytest.mark.parametrize("n_features", [5, 60])
def test_each_curvature_leads_to_the_optimum(move, n_features):
    """Exact; and Kronecker-factored, from a sample of rows or from fewer rows than features."""
    rng = np.random.default_rng(0)
    for n_rows in (1500, n_features - 3):
        if n_rows < 10:
            continue
        y = rng.integers(0, 12, n_rows)
        X = rng.standard_normal((n_rows, n_features)) + rng.standard_normal((12, n_features))[y]
        clf = converged(max_iter=200)
        assert_same_optimum(clone(clf).fit(move(X), y), clf.fit(X, y))


@every_backend
@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "uint8"])
def test_dtypes(move, dtype):
    if move is strict and dtype == "float16":
        pytest.importorskip("torch")
        move = torch_cpu  # (the standard has no float16)
    X, y = load_digits(return_X_y=True)
    X = X.astype(dtype)
    clf = SoftmaxRegressionClassifier().fit(move(X), y)
    assert clf.coef_.dtype == (np.float64 if "int" in dtype else np.float32)
    assert_near_optimum(clf, X, y)
    proba, expected = clf.predict_proba(move(X)), clf.predict_proba(X)
    assert _portable.dtype_of(proba) == expected.dtype
    assert_allclose(_portable.to_numpy(proba), expected, atol=1e-4)


@every_backend
def test_predictions_follow_X(table, move):
    X, y, _ = table
    clf = converged().fit(X, y)
    there = move(X)
    for method in ("decision_function", "predict", "predict_proba", "predict_log_proba"):
        result = getattr(clf, method)(there)
        assert type(result) is type(there)
        assert _portable.device_of(result) == _portable.device_of(there)
        assert_allclose(_portable.to_numpy(result), getattr(clf, method)(X), atol=1e-9)
    assert clf.score(there, move(y)) == clf.score(X, y)
    is_two = y == 2
    clf.fit(there, is_two)
    assert clf.decision_function(there).shape == (len(y),)
    assert_same_optimum(clf, converged().fit(X, is_two))


@every_backend
def test_mixed_input(table, move):
    """X there; labels that are strings, weights and probabilities here."""
    X, y, weight = table
    names = np.array(["a", "b", "c"])[y]
    expected = converged().fit(X, names, weight)
    clf = converged().fit(move(X), names.tolist(), weight)
    assert_same_optimum(clf, expected)
    assert_array_equal(clf.predict(move(X)), expected.predict(X))
    proba = np.random.default_rng(0).dirichlet(np.ones(3), len(y))
    for weights in ({}, {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}):
        expected = converged(**weights).fit(X, proba)
        for targets in (proba, move(proba)):
            assert_same_optimum(converged(**weights).fit(move(X), targets), expected)


@every_backend
def test_streams(table, move):
    X, y, weight = table
    expected, clf = (SoftmaxRegressionClassifier(random_state=0) for _ in range(2))
    for rows in (slice(0, 700), slice(700, 1500)):
        expected.partial_fit(X[rows], y[rows], [0, 1, 2], weight[rows])
        clf.partial_fit(move(X[rows]), move(y[rows]), [0, 1, 2], move(weight[rows]))
    assert_same_model(clf, expected)


@quiet
@every_backend
def test_warm_start_and_callbacks(table, move, capsys):
    X, y, _ = table
    clf = SoftmaxRegressionClassifier(warm_start=True, max_iter=2, tol=0.0, verbose=1)
    clf.fit(move(X), y).fit(X, y).fit(move(X), y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 4
    loss = float(lines[-2].split()[-1])  # (The last line says why the fit has ended.)
    clf.set_params(max_iter=1000, tol=1e-8).fit(move(X), y)
    assert clf.loss_curve_[0] <= loss * (1 + 1e-7)  # (as it was printed)
    assert_same_optimum(clf, converged().fit(X, y))


@every_backend
def test_a_model_is_of_numpy(table, move):
    X, y, _ = table
    for solver in ("lbfgs", "sgd"):
        clf = SoftmaxRegressionClassifier(solver=solver, random_state=0).fit(move(X), y)
        restored = pickle.loads(pickle.dumps(clf))
        assert_array_equal(restored.predict_proba(X), clf.predict_proba(X))
    restored.partial_fit(X, y)


@every_backend
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_bad_input(table, move, solver):
    X, y, _ = table
    clf = SoftmaxRegressionClassifier(solver=solver).fit(move(X), y)
    before = clf.coef_
    bad = X.copy()
    bad[7, 3] = np.nan
    for call in (lambda: clf.fit(move(bad), y), lambda: clf.predict(move(bad))):
        with pytest.raises(ValueError, match="X contains NaN"):
            call()
    for wrong, message in [
        (X[:, 0], "two dimensions"),
        (X[:0], "at least one sample"),
        (X[:-1], "inconsistent numbers of samples"),
    ]:
        with pytest.raises(ValueError, match=message):
            clf.fit(move(wrong), y)
    with pytest.raises(ValueError, match="X has 11 features"):
        clf.predict(move(X[:, 1:]))
    assert clf.coef_ is before


@pytest.mark.parametrize("move", [torch_cpu, *BACKENDS[2:]])
def test_model_selection_without_configuration(move):
    X, y = load_iris(return_X_y=True)
    clf = SoftmaxRegressionClassifier()
    expected = cross_val_score(clf, X, y)
    assert_allclose(cross_val_score(clf, move(X), y), expected)
    search = GridSearchCV(clf, {"C": [0.01, 1.0]}).fit(move(X), y)
    assert search.best_params_ == GridSearchCV(clf, {"C": [0.01, 1.0]}).fit(X, y).best_params_


def test_synchronisations_of_an_iteration(monkeypatch):
    """Numbers that come back to the host, of which the documentation speaks."""
    xp = pytest.importorskip("array_api_strict")
    counted = []
    original = type(xp.asarray(0.0)).__float__

    def counting(array):
        counted.append(1)
        return original(array)

    X, y = load_digits(return_X_y=True)
    fetched = _portable.to_numpy

    def fetching(array):
        if not isinstance(array, np.ndarray | np.generic):
            counted.append(1)
        return fetched(array)

    from sklearn_softmax._solvers import history as _history

    monkeypatch.setattr(type(xp.asarray(0.0)), "__float__", counting)
    monkeypatch.setattr(_history, "to_numpy", fetching)
    n_counted = []
    for max_iter in (4, 8):
        counted.clear()
        clf = SoftmaxRegressionClassifier(max_iter=max_iter, tol=0.0)
        with pytest.warns(UserWarning, match="did not converge"):
            clf.fit(strict(X), y)
        n_counted.append(len(counted))
    assert (n_counted[1] - n_counted[0]) / 4 <= 12


@every_backend
def test_device_cpu_takes_anything(table, move):
    X, y, weight = table
    expected = SoftmaxRegressionClassifier().fit(X, y, weight)
    clf = SoftmaxRegressionClassifier(device="cpu").fit(move(X), move(y), move(weight))
    assert_array_equal(clf.coef_, expected.coef_)
    assert_array_equal(clf.predict_proba(move(X)), expected.predict_proba(X))


def has_cuda():
    try:
        import cupy
    except ImportError:
        return False
    return cupy.is_available()


@pytest.mark.skipif(has_cuda(), reason="there is a GPU")
def test_without_a_gpu_the_error_says_what_to_install(table):
    X, y, _ = table
    clf = SoftmaxRegressionClassifier().fit(X, y)
    before = clf.coef_
    clf.set_params(device="cuda")
    with pytest.raises((ImportError, RuntimeError), match=r"device='cuda' needs (CuPy|a CUDA)"):
        clf.fit(X, y)
    assert clf.coef_ is before


@pytest.mark.gpu
@pytest.mark.parametrize("sparse", [False, True])
def test_device_cuda_moves_X(table, sparse):
    X, y, weight = table
    cupy(X)
    X = sp.csr_array(X * (X > 3)) if sparse else X
    expected = SoftmaxRegressionClassifier().fit(X, y, weight)
    clf = SoftmaxRegressionClassifier(device="cuda").fit(X, y, weight)
    assert_same_model(clf, expected)
    assert isinstance(clf.predict_proba(X), np.ndarray)
    assert_allclose(clf.predict_proba(X), expected.predict_proba(X), atol=1e-7)


def test_cupy_computes_on_the_device_of_its_array():
    class Matrix:
        """As CuPy's sparse matrices and their data."""

        data = type("Data", (), {"device": "the second"})

    Matrix.__module__ = "cupyx.scipy.sparse._csr"
    assert _portable.on_device_of(Matrix()) == "the second"
    for X in (np.ones((2, 2)), sp.csr_matrix(np.ones((2, 2))), [[1.0]], strict(np.ones(2))):
        with _portable.on_device_of(X) as device:
            assert device is None


@pytest.mark.parametrize("call", ["fit", "partial_fit", "predict"])
def test_all_is_computed_within_the_device_of_X(table, monkeypatch, call):
    X, y, _ = table
    clf, inside = SoftmaxRegressionClassifier(max_iter=3, tol=1.0).fit(X, y), []

    @contextmanager
    def on_device_of(given):
        assert given is X
        inside.append(True)
        yield
        inside.pop()

    def rows_of(*args, **options):
        assert inside
        return original(*args, **options)

    original = _dispatch.rows_of
    for module in (_classifier, _predictor):
        monkeypatch.setattr(module, "on_device_of", on_device_of)
    for module in (_validation, _prediction):
        monkeypatch.setattr(module, "rows_of", rows_of)
    arguments = (X,) if call == "predict" else (X, y)
    getattr(clf, call)(*arguments)
    assert not inside


@pytest.mark.gpu
@pytest.mark.parametrize("number", [0, 1])
def test_cupy_arrays_of_any_device(table, number):
    X, y, weight = table
    cupy(X)
    import cupy as library

    if library.cuda.runtime.getDeviceCount() <= number:
        pytest.skip("no such CUDA device")
    with library.cuda.Device(number):
        placed = library.asarray(X)
    clf = converged().fit(placed, y, weight)
    assert_same_optimum(clf, converged().fit(X, y, weight))
    assert clf.predict(placed).device.id == number
    assert library.cuda.runtime.getDevice() == 0


@pytest.mark.gpu
@quiet
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_cupy_csr(table, solver):
    X, y, weight = table
    cupy(X)
    from cupyx.scipy.sparse import csr_matrix

    host = sp.csr_matrix(X * (X > 3))
    max_iter = 5 if solver == "sgd" else 1000
    clf = converged(solver=solver, random_state=0, max_iter=max_iter)
    expected = clone(clf).fit(host, y, weight)
    clf.fit(csr_matrix(host), y, weight)
    assert_same_model(clf, expected)
    proba = clf.predict_proba(csr_matrix(host)).get()
    assert_allclose(proba, expected.predict_proba(host), atol=1e-7)


def test_lack_of_gpu_memory_is_told(table, monkeypatch):
    class OutOfMemoryError(RuntimeError):
        """As PyTorch and CuPy name theirs."""

    def fail(*args):
        raise OutOfMemoryError("Tried to allocate 2.00 GiB.")

    X, y, _ = table
    clf = SoftmaxRegressionClassifier().fit(X, y)
    before = clf.coef_
    monkeypatch.setattr(_linear.SoftmaxObjective, "parameters", fail)
    with pytest.raises(MemoryError, match=r"GPU ran out of memory: Tried to allocate 2.00 GiB"):
        clf.fit(X, y)
    assert clf.coef_ is before


PIPELINE = """
import numpy as np, torch
from sklearn import config_context
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_softmax import SoftmaxRegressionClassifier
X, y = load_wine(return_X_y=True)
pipeline = make_pipeline(StandardScaler(), SoftmaxRegressionClassifier())
expected = pipeline.fit(X, y).predict_proba(X)
with config_context(array_api_dispatch=True):
    there = torch.asarray(X, device=DEVICE)
    proba = pipeline.fit(there, torch.asarray(y, device=DEVICE)).predict_proba(there)
    assert type(proba) is type(there)
    score = pipeline.score(there, torch.asarray(y, device=DEVICE))
assert np.abs(proba.cpu().numpy() - expected).max() < 1e-9
assert score == 1.0
"""


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_pipeline_under_array_api_dispatch(name):
    """In a process of its own: SciPy reads its switch when it is imported."""
    (torch_cpu if name == "cpu" else torch_cuda)(np.zeros(1))
    code = PIPELINE.replace("DEVICE", repr(name))
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [2, 3, 8, 23])
def test_fused_kernel(dtype, n_classes):
    """The same as the formulas, for numbers of rows and classes that no block of threads fits."""
    from sklearn_softmax._arrays import cuda as _cuda

    rng = np.random.default_rng(0)
    for n_rows in (1, 32, 77):
        logits = (5 * rng.standard_normal((n_classes, n_rows))).astype(dtype)
        intercept = rng.standard_normal(n_classes).astype(dtype)
        y, weight = rng.integers(0, n_classes, n_rows), rng.random(n_rows)
        for sample_weight, added, smoothing in ((None, None, 0.0), (weight, intercept, 0.1)):
            expected = functional.cross_entropy_loss_gradient(
                logits if added is None else logits + added[:, None],
                y,
                sample_weight=sample_weight,
                label_smoothing=smoothing,
                axis=0,
                reduction="sum",
            )
            moved = (None if part is None else cupy(part) for part in (added, y, sample_weight))
            loss, residual = _cuda.loss_residual(cupy(logits), *moved, smoothing)
            assert_allclose(float(loss), expected[0], rtol=1e-6)
            assert_allclose(residual.get(), expected[1], atol=1e-6)


def test_functions_on_a_device():
    logits = strict(np.zeros((2, 4)))
    loss = functional.cross_entropy(logits, strict(np.array([0, 3])))
    assert _portable.device_of(loss) == _portable.device_of(logits)
    assert_allclose(float(loss), np.log(4))
