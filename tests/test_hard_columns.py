"""Features and rows that spoil a model of the curvature, or the digits of a logit."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._objective.scaling import Scaling
from sklearn_softmax._rows.blocks import RowBlocks
from sklearn_softmax._solvers.lbfgs import lbfgs


@pytest.fixture
def table(rng):
    """Four classes of 600 rows, 6 independent features."""
    X = rng.standard_normal((600, 6))
    y = (X @ rng.standard_normal((6, 4)) + rng.gumbel(size=(600, 4))).argmax(axis=1)
    return X, y


def proba(X, y, *, sample_weight=None, **options):
    clf = SoftmaxRegressionClassifier(tol=1e-7, **options).fit(X, y, sample_weight=sample_weight)
    return clf.predict_proba(X)


def test_principal_components_of_rank_deficient_rows_change_nothing():
    X, y = load_digits(return_X_y=True)
    X, y = X[:500], y[:500]
    components = PCA().fit_transform(X)  # (some have a variance of 1e-30)
    assert_allclose(proba(components, y), proba(X, y), atol=1e-6)


def test_a_column_of_rounding_errors_changes_nothing(table, both_ways):
    X, y = table
    cancelled = X[:, 0] * 3 - X[:, 0] - X[:, 0] - X[:, 0]
    assert 0 < cancelled.std() < 1e-14
    with_it = np.column_stack([X, cancelled])
    assert_allclose(proba(with_it, y), proba(X, y), atol=1e-6)
    # Without a penalty it is a feature as any other.
    without, clf = (SoftmaxRegressionClassifier(C=np.inf).fit(rows, y) for rows in (X, with_it))
    assert clf.loss_curve_[-1] <= without.loss_curve_[-1] * (1 + 1e-7)


@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e-12, 1e-8])
def test_a_tiny_column_with_a_penalty_changes_nothing(table, size, both_ways):
    X, y = table
    tiny = np.column_stack([X[:, :5], size * X[:, 5]])
    assert_allclose(proba(tiny, y), proba(X[:, :5], y), atol=1e-6)


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e8])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix])
def test_without_a_penalty_scales_change_nothing(table, size, container, both_ways):
    X, y = table
    scaled = X * [1.0, 1.0, 1.0, 1.0, 1.0, size]
    assert_allclose(proba(container(scaled), y, C=np.inf), proba(X, y, C=np.inf), atol=1e-6)


@pytest.mark.parametrize("C", [1.0, 100.0])
def test_time_stamps_in_sparse_rows(table, C):
    X, y = table
    X = X * (np.abs(X) > 0.5)
    stamp = 1.6e9 + 1e7 * X[:, :1] + 1e7 * (y[:, None] == 1)
    X = np.hstack([X, stamp])
    assert_allclose(proba(sp.csr_matrix(X), y, C=C), proba(X, y, C=C), atol=1e-6)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_offsets_in_float32(table, offset, both_ways):
    X, y = table
    X = (X + offset).astype(np.float32)
    clf = SoftmaxRegressionClassifier(tol=1e-6).fit(X, y)
    expected = SoftmaxRegressionClassifier(tol=1e-6).fit(X.astype(np.float64), y)
    assert_allclose(clf.predict_proba(X), expected.predict_proba(X.astype(float)), atol=1e-3)
    assert clf.predict_proba(X).dtype == np.float32
    assert clf.coef_.dtype == (np.float32 if offset == 1e2 else np.float64)


@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_offsets_in_float64(table, offset, both_ways):
    X, y = table
    shifted = X + offset
    X = shifted - offset  # the same digits
    assert_allclose(proba(shifted, y), proba(X, y), atol=1e-5)


@pytest.mark.parametrize("fill", [1e20, 9.97e36, 1e200, -1e6])
@pytest.mark.parametrize("container", [np.asarray, np.asfortranarray, sp.csr_matrix])
def test_what_rows_of_weight_0_hold_changes_nothing(table, fill, container, both_ways):
    X, y = table
    weight = np.ones(600)
    weight[::7] = 0
    filled = X.copy()
    filled[::7] = fill
    clf = SoftmaxRegressionClassifier(tol=1e-7).fit(container(filled), y, sample_weight=weight)
    expected = SoftmaxRegressionClassifier(tol=1e-7).fit(X[weight > 0], y[weight > 0])
    assert_allclose(clf.coef_, expected.coef_, atol=1e-7)


def test_rows_set_aside_do_not_steer_the_fit(table):
    X, y = table
    options = {"early_stopping": True, "random_state": 0, "max_iter": 200}
    clf = SoftmaxRegressionClassifier(**options).fit(X, y)
    X = X.copy()
    validation = SoftmaxRegressionClassifier(**options)
    validation.fit(X, y)
    assert_array_equal(clf.coef_, validation.coef_)


def test_scales_do_not_see_rows_of_weight_0(table):
    X, y = table
    weight = (np.arange(600) >= 100).astype(float)
    X = X.copy()
    X[:100] = 1e30
    blocks = RowBlocks(X, y, weight, n_classes=4)
    blocks.block_rows = 50  # (the first block has no row of positive weight)
    scaling = Scaling.of_rows(blocks, center=True)
    assert_allclose(scaling.center, X[100:].mean(axis=0))
    assert_allclose(scaling.scale, X[100:].std(axis=0))


def test_a_penalty_of_l1_of_strength_0_is_none(table):
    X, y = table
    clf = SoftmaxRegressionClassifier(C=np.inf, l1_ratio=1.0).fit(X, y)
    assert_allclose(clf.coef_, SoftmaxRegressionClassifier(C=np.inf).fit(X, y).coef_)


class Walled:
    """An H0 that takes all directions for walls, until it is distrusted."""

    replaces_steps = is_cheap = is_bound = is_nearly_singular = can_have_root = False
    step_memory = 10, np.float64

    def __init__(self):
        self.scale = 1e-30

    def is_due(self, n_evaluations):
        return False

    def update(self, vector, n_evaluations, n_left=np.inf):
        return False

    def solve(self, gradient, free=None):
        return self.scale * gradient

    def least_decrement(self, gradient):
        return float(gradient @ gradient) / (4.0 * len(gradient))

    def distrust(self, vector):
        was_trusted, self.scale = self.scale != 0.25, 0.25
        return was_trusted


class Bowl:
    """|v - 1|^2 plus 1."""

    epsilon, uniform_loss = np.finfo(float).eps, 1.0

    def largest_change(self, step):
        return np.abs(step).max()

    def loss_gradient(self, vector):
        return 1.0 + float((vector - 1.0) @ (vector - 1.0)), 2.0 * (vector - 1.0)


def test_an_h0_that_takes_everything_for_flat_does_not_end_a_fit():
    *_, last = lbfgs(Bowl(), Walled(), np.zeros(3), tol=1e-6)
    assert last.status == "converged"
    assert_allclose(last.vector, 1.0, atol=1e-5)


@pytest.mark.parametrize("size", [1e-20, 1e-24, 1e-30])
def test_small_units_in_float32(table, size, both_ways):
    X, y = table
    clf = SoftmaxRegressionClassifier(C=np.inf).fit((X * size).astype(np.float32), y)
    expected = SoftmaxRegressionClassifier(C=np.inf).fit(X, y)
    assert_allclose(clf.loss_curve_[-1], expected.loss_curve_[-1], rtol=1e-5)


@pytest.mark.parametrize("tol", [0.3, 0.1, 1e-2])
def test_a_loose_tolerance_is_kept_on_raw_digits(tol):
    X, y = load_digits(return_X_y=True)
    best = SoftmaxRegressionClassifier().fit(X, y)
    clf = SoftmaxRegressionClassifier(tol=tol).fit(X, y)
    assert clf.loss_curve_[-1] <= best.loss_curve_[-1] * (1 + 10 * tol**2)


def test_many_parameters_keep_what_tol_promises(rng):
    """Word counts, whose model of the curvature is a diagonal: judged by the duality gap."""
    rate = 30.0 / np.arange(1, 801) ** 1.1
    y = rng.integers(0, 4, 400)
    X = rng.poisson(rate * np.exp(0.5 * rng.standard_normal((4, 800)))[y]).astype(float)
    X = sp.csr_matrix(X)
    clf = SoftmaxRegressionClassifier(tol=1e-3).fit(X, y)
    best = SoftmaxRegressionClassifier(tol=1e-6, max_iter=5000).fit(X, y)
    assert best.duality_gap_ <= 1e-7 * best.loss_curve_[-1]
    assert clf.loss_curve_[-1] <= best.loss_curve_[-1] * (1 + 10 * 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_too_large_for_their_dtype_are_computed_or_refused(iris, dtype):
    X, y = iris
    clf = SoftmaxRegressionClassifier(C=1e4).fit(X.astype(dtype), y)
    row = np.full((1, 4), np.finfo(dtype).max, dtype)
    if dtype == np.float64:
        with pytest.raises(ValueError, match="its logits are not finite"):
            clf.predict_proba(row)
    else:
        expected = clf.predict_proba(row.astype(np.float64) / 1e30)
        assert_allclose(clf.predict_proba(row), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("coef_", np.zeros((1, 4)), r"coef_ must be .* shape \(3, 4\)"),
        ("coef_", np.full((3, 4), np.nan), "coef_ must be finite"),
        ("intercept_", np.zeros(1), r"intercept_ must be .* shape \(3,\)"),
        ("intercept_", 0.0, r"intercept_ must be .* shape \(3,\)"),
    ],
)
def test_coefficients_set_by_hand_are_checked(iris, name, value, message):
    X, y = iris
    clf = SoftmaxRegressionClassifier(warm_start=True).fit(X, y)
    setattr(clf, name, value)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    with pytest.raises(ValueError, match=message):
        clf.partial_fit(X, y)


def test_sgd_says_that_it_learns_little_from_sparse_features_far_from_zero(table):
    X, y = table
    stamp = 1.6e9 + 1e7 * X[:, :1]
    rows = sp.csr_matrix(np.hstack([X * (X > 0), stamp, np.ones_like(stamp)]))
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0)
    with pytest.warns(match="feature 6 is far from zero in nearly all rows, as are 0 others"):
        clf.fit(rows, y)
    with pytest.warns(match="does not centre sparse features"):
        SoftmaxRegressionClassifier().partial_fit(rows, y, classes=np.unique(y))


def test_a_model_that_cannot_be_published_says_so(iris):
    X, y = iris
    X = np.hstack([X, 1 + 1e-8 * X])
    with pytest.warns(match="rounding them shifts the logits"):
        SoftmaxRegressionClassifier(C=np.inf).fit(X, y)


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-30])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_scales_in_float32_of_columns_that_are_zero_or_small(rng, size, offset, monkeypatch):
    """Where squares vanish in float32 they are taken in float64, of those columns alone."""
    X = rng.standard_normal((300, 5)).astype(np.float32)
    X[:, [1, 3]] *= size
    X[:, 3] += offset
    seen = []
    accumulate = RowBlocks.accumulate
    monkeypatch.setattr(
        RowBlocks, "accumulate", lambda self, kind: seen.append(kind) or accumulate(self, kind)
    )
    scaling = Scaling.of_rows(RowBlocks(X, np.arange(300) % 2, None, n_classes=2), center=True)
    exact = X.astype(np.float64)
    spread = exact.std(axis=0)
    assert_allclose(scaling.center, exact.mean(axis=0), rtol=1e-5, atol=1e-6)
    is_known = spread > 0
    assert_allclose(scaling.scale[is_known], spread[is_known], rtol=1e-4)
    whole = [kind for kind in seen if kind.columns is None]
    assert all(set(kind.columns) <= {1, 3} for kind in seen if kind.columns is not None)
    assert len(whole) == 1
