"""Paths along C: each model is that of a fit by itself, and the bound of its error is one."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifier, softmax_path

# What ``tol`` promises of an objective, relatively, at its default.
PROMISED = {0.0: 1e-7, 0.5: 1e-7, 1.0: 1e-4}


def mean_objective(coef, intercept, X, target, weight, C, l1_ratio):
    """Return the objective in nats, straight from its definition."""
    X = np.asarray(X.toarray() if sp.issparse(X) else X, dtype=np.float64)
    logits = X @ coef.T.astype(np.float64) + intercept
    if len(coef) == 1:
        logits = np.column_stack([np.zeros(len(X)), logits])
    losses = -np.sum(target * log_softmax(logits, axis=1), axis=1)
    ridge, lasso = 0.5 * np.sum(coef.astype(np.float64) ** 2), np.abs(coef).sum()
    penalty = ((1 - l1_ratio) * ridge + l1_ratio * lasso) / C
    return (weight @ losses + penalty) / weight.sum()


def assert_is_optimal_path(path, X, y, *, slack=0.0, **options):
    """Every model of a path has the objective of a converged fit, to what ``tol`` promises."""
    weight = options.pop("sample_weight", None)
    l1_ratio = options.get("l1_ratio", 0.0)
    for i, C in enumerate(path.Cs):
        clf = SoftmaxRegressionClassifier(C=C, tol=1e-7, max_iter=5000, **options)
        best = clf.fit(X, y, weight).loss_curve_[-1]
        assert path.reasons[i] == "converged"
        assert path.objectives[i] <= best * (1 + PROMISED[l1_ratio] + slack) + 1e-9
        if np.isfinite(C):
            assert path.objectives[i] - path.duality_gaps[i] <= best * (1 + 1e-7 + slack)
        assert path.n_nonzero[i] == np.count_nonzero(path.coefs[i])


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fit_intercept": False},
        {"class_weight": "balanced"},
        {"label_smoothing": 0.1},
        {"sample_weight": np.random.default_rng(0).exponential(size=178)},
    ],
    ids=lambda options: next(iter(options), "defaults"),
)
def test_models_are_those_of_fits_by_themselves(wine, l1_ratio, options):
    X, y = wine
    path = softmax_path(X, y, Cs=6, l1_ratio=l1_ratio, **options)
    assert_is_optimal_path(path, X, y, l1_ratio=l1_ratio, **options)


def hard_rows(kind, n_rows, step):
    """Return rows and labels that are hard in one way; "wide" ones are every ``step``-th."""
    X, y = make_classification(
        n_rows, 30, n_informative=8, n_classes=3, random_state=1, n_clusters_per_class=1
    )
    if kind == "wide":
        X, y = X[::step], y[::step]
    elif kind == "csr":
        X = sp.csr_array(np.where(np.abs(X) > 1, X, 0.0))
    elif kind == "float32":
        X = X.astype(np.float32)
    elif kind == "far":
        X[:, 0] += 1e5
    elif kind == "tiny":
        X[:, 0] *= 1e-12
    elif kind == "collinear":
        X[:, 1] = X[:, 0] + 1e-8 * X[:, 2]
    elif kind == "two":
        X, y = load_breast_cancer(return_X_y=True)
        X = StandardScaler().fit_transform(X)
    elif kind == "rare":  # (constant in the training rows of some folds)
        X[:, :3] = 0.0
        X[[0, n_rows // 2, n_rows - 1], [0, 1, 2]] = 1.0
    elif kind == "large":  # (more than one block)
        X, y = make_classification(
            6000, 40, n_informative=8, n_classes=4, random_state=1, n_clusters_per_class=1
        )
    return X, y


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["wide", "csr", "float32", "far", "tiny", "collinear", "two"])
def test_hard_rows(l1_ratio, kind):
    X, y = hard_rows(kind, n_rows=80, step=4)
    path = softmax_path(X, y, Cs=5, l1_ratio=l1_ratio)
    assert path.coefs.dtype == X.dtype
    slack = 1e-5 if kind == "float32" else 0.0
    assert_is_optimal_path(path, X, y, l1_ratio=l1_ratio, slack=slack)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_first_penalty_is_the_smallest_that_leaves_all_coefficients_zero(
    iris, n_classes, l1_ratio, fit_intercept
):
    X, y = iris
    X, y = X[y < n_classes], y[y < n_classes]
    options = {"l1_ratio": l1_ratio, "fit_intercept": fit_intercept}
    path = softmax_path(X, y, Cs=3, **options)
    assert path.n_nonzero[0] == 0
    assert_allclose(path.Cs[1:] / path.Cs[:-1], np.sqrt(1e3))
    # From the optimality conditions at zero: |g| / l1_ratio is the penalty.
    proba = (
        np.eye(n_classes)[y].mean(axis=0) if fit_intercept else np.full(n_classes, 1 / n_classes)
    )
    gradient = X.T @ (proba - np.eye(n_classes)[y])
    assert_allclose(path.Cs[0], l1_ratio / np.abs(gradient).max(), rtol=1e-6)
    beyond = softmax_path(X, y, Cs=[path.Cs[0] * 1.01], tol=1e-8, **options)
    assert beyond.n_nonzero[0] > 0


def test_against_a_minimiser_that_shares_no_code(iris):
    X, y = iris
    target, weight = np.eye(3)[y], np.ones(len(y))
    for C in [0.01, 1.0, 100.0]:

        def loss_gradient(flat, C=C):
            coef, intercept = flat[:12].reshape(3, 4), flat[12:]
            proba = softmax(X @ coef.T + intercept, axis=1)
            loss = mean_objective(coef, intercept, X, target, weight, C, 0.0)
            residual = (proba - target) / len(y)
            gradient = residual.T @ X + coef / (C * len(y))
            return loss, np.concatenate([gradient.ravel(), residual.sum(axis=0)])

        best = minimize(loss_gradient, np.zeros(15), jac=True, method="BFGS", tol=1e-9)
        path = softmax_path(X, y, Cs=[C])
        assert_allclose(path.objectives, best.fun, rtol=1e-7)
        found = mean_objective(path.coefs[0], path.intercepts[0], X, target, weight, C, 0.0)
        assert_allclose(path.objectives, found, rtol=1e-12)


def test_soft_labels(wine, rng):
    X, y = wine
    proba = rng.dirichlet(np.ones(3), size=len(y))
    path = softmax_path(X, proba, Cs=4, l1_ratio=1.0)
    assert_is_optimal_path(path, X, proba, l1_ratio=1.0)


def test_no_penalty_at_the_end(rng):
    X, y = rng.normal(size=(200, 3)), rng.integers(3, size=200)
    path = softmax_path(X, y, Cs=[np.inf, 1.0, 0.01])
    assert_array_equal(path.Cs, [0.01, 1.0, np.inf])
    assert path.duality_gaps[-1] == np.inf
    assert_is_optimal_path(path, X, y)


def test_no_penalty_after_the_rows_own_space(rng):
    """Fewer rows than features: the path goes from their principal components to the features."""
    X, y = rng.normal(size=(30, 60)), rng.integers(2, size=30)
    path = softmax_path(X, y, Cs=[0.1, 1.0, np.inf], label_smoothing=0.2)
    assert_is_optimal_path(path, X, y, label_smoothing=0.2)


def test_no_penalty_after_l1(wine):
    """Without a penalty nothing tells what coefficients sum to over the classes: 0, as ever."""
    X, y = wine
    path = softmax_path(X, y, Cs=[0.1, np.inf], l1_ratio=1.0, label_smoothing=0.1)
    best = SoftmaxRegressionClassifier(C=np.inf, label_smoothing=0.1, tol=1e-7).fit(X, y)
    assert_allclose(path.objectives[-1], best.loss_curve_[-1], rtol=1e-7)
    assert_allclose(path.coefs[-1].sum(axis=0), 0.0, atol=1e-10)


def test_float32_far_from_zero_after_a_strong_penalty(rng):
    """Whether float32 has digits enough is not for the first, the strongest penalty to say."""
    X = rng.normal(size=(6000, 30))
    y = (X[:, :4] @ rng.normal(size=(4, 3)) + rng.gumbel(size=(6000, 3))).argmax(axis=1)
    X[:, 0] += 1e6
    X = X.astype(np.float32)
    path = softmax_path(X, y, Cs=[1e-12, 10.0], l1_ratio=0.5, solver="lbfgs")
    near = X.astype(np.float64)
    near[:, 0] -= 1e6
    clf = SoftmaxRegressionClassifier(C=10.0, l1_ratio=0.5, tol=1e-6).fit(near, y)
    intercept = path.intercepts[1] + 1e6 * path.coefs[1][:, 0]
    arguments = near, np.eye(3)[y], np.ones(6000), 10.0, 0.5
    found = mean_objective(path.coefs[1], intercept, *arguments)
    assert_allclose(found, mean_objective(clf.coef_, clf.intercept_, *arguments), rtol=1e-7)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries(library, iris):
    xp = pytest.importorskip(library)
    X, y = iris
    for dtype in (np.float32, np.float64):
        path = softmax_path(xp.asarray(X.astype(dtype)), y, Cs=[0.1, 1.0])
        expected = softmax_path(X.astype(dtype), y, Cs=path.Cs)
        assert_allclose(path.objectives, expected.objectives, rtol=1e-6)


def test_rows_of_weight_zero_are_left_out(wine):
    X, y = wine
    weight = (np.arange(len(y)) % 3 > 0).astype(float)
    filled = X.copy()
    filled[weight == 0] = 1e20
    path = softmax_path(filled, y, Cs=5, sample_weight=weight)
    expected = softmax_path(X[weight > 0], y[weight > 0], Cs=5)
    assert_allclose(path.Cs, expected.Cs)
    assert_allclose(path.objectives, expected.objectives, rtol=1e-7)


@pytest.mark.parametrize("kind", ["list", "read-only", "fortran", "csc", "int"])
def test_what_is_passed_stays_as_it_is(iris, kind):
    X, y = iris
    X = {
        "list": X.tolist,
        "read-only": X.copy,
        "fortran": lambda: np.asfortranarray(X),
        "csc": lambda: sp.csc_array(X),
        "int": lambda: (10 * X).astype(np.int16),
    }[kind]()
    if kind == "read-only":
        X.flags.writeable = False
    data = X.data if sp.issparse(X) else np.asarray(X)
    before = data.tobytes() if isinstance(data, np.ndarray) else bytes(data)
    softmax_path(X, y, Cs=3)
    after = X.data if sp.issparse(X) else np.asarray(X)
    assert after.tobytes() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"Cs": []}, "Cs must be an integer, or one number at least"),
        ({"Cs": [0.0, 1.0]}, r"Cs must be numbers in \(0, inf\]; got 0.0"),
        ({"Cs": [np.nan]}, r"Cs must be numbers in \(0, inf\]; got nan"),
        ({"Cs": [[1.0]]}, "Cs must be an integer, or one number at least"),
        ({"Cs": 0}, "'Cs' parameter"),
        ({"eps": 1.0}, "'eps' parameter"),
        ({"solver": "sgd"}, "solver must be 'auto', 'lbfgs' or 'coordinate_descent'"),
        ({"l1_ratio": 2.0}, "'l1_ratio' parameter"),
        ({"sample_weight": [-1.0] * 150}, "sample_weight"),
    ],
)
def test_bad_input(iris, options, said):
    with pytest.raises(ValueError, match=said):
        softmax_path(*iris, **options)


def test_fits_that_do_not_converge_are_named(wine):
    with pytest.warns(
        ConvergenceWarning, match=r"2 of 2 fits did not converge: C=1 \(max_iter\); C=10 \(max"
    ) as told:
        path = softmax_path(*wine, Cs=[10.0, 1.0], max_iter=1)
    assert path.reasons == ["max_iter"] * 2
    assert told[0].filename == __file__


def test_features_that_tell_nothing():
    X, y = np.ones((10, 2)), np.arange(10) % 2
    with pytest.raises(ValueError, match="No feature of X is related to y"):
        softmax_path(X, y)
    assert softmax_path(X, y, Cs=[1.0]).n_nonzero[0] <= 2


def test_x_that_is_not_finite(iris):
    X, y = iris[0].copy(), iris[1]
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        softmax_path(X, y)


def test_dask_is_refused(iris):
    da = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match="X must not be a Dask collection"):
        softmax_path(da.from_array(iris[0]), iris[1])
