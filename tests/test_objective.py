"""Objective and curvature: derivatives by finite differences, blocks, threads."""

import array_api_strict
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_softmax._curvature import exact as _newton
from sklearn_softmax._curvature import hessians as _hessians
from sklearn_softmax._curvature.choice import Curvature
from sklearn_softmax._curvature.diagonal import DiagonalCurvature
from sklearn_softmax._curvature.exact import ExactCurvature
from sklearn_softmax._curvature.hessians import add_pairs, add_softmax_hessian, unpack_pairs
from sklearn_softmax._curvature.kronecker import KroneckerCurvature
from sklearn_softmax._objective.linear import SoftmaxObjective
from sklearn_softmax._objective.scaling import Scaling
from sklearn_softmax._rows import worker_threads as _worker_threads
from sklearn_softmax._rows.blocks import RowBlocks
from sklearn_softmax._rows.sums import spread


def make_objective(rng, *, n_classes=3, sparse=False, soft=False, weighted=True, **options):
    X = rng.standard_normal((40, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, 100]
    if sparse:
        X = sp.random(40, 4, density=0.5, format="csr", random_state=0)
    y = rng.dirichlet(np.ones(n_classes), 40) if soft else rng.integers(0, n_classes, 40)
    weight = rng.integers(0, 3, 40).astype(float) if weighted else None
    blocks = RowBlocks(X, y, weight, n_classes=n_classes)
    return SoftmaxObjective(blocks, **{"C": 0.1, **options})


def differences(function, vector, step=1e-5):
    """Return the derivative of a function by central differences, (n_parameters, ...)."""
    units = step * np.eye(len(vector))
    return np.array([(function(vector + e) - function(vector - e)) / (2 * step) for e in units])


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("sparse", "soft"), [(False, False), (True, False), (False, True)])
def test_gradient(rng, n_classes, fit_intercept, sparse, soft):
    objective = make_objective(
        rng,
        n_classes=n_classes,
        sparse=sparse,
        soft=soft,
        fit_intercept=fit_intercept,
        label_smoothing=0.1,
    )
    vector = 0.5 * rng.standard_normal(objective.n_outputs * objective.n_columns)
    gradient = objective.loss_gradient(vector)[1]
    expected = differences(lambda v: objective.loss_gradient(v)[0], vector)
    assert_allclose(gradient, expected, atol=1e-8)


@pytest.mark.parametrize("scaling", [None, Scaling.unscaled()])
def test_parameters_and_coefficients_are_inverse(rng, scaling):
    objective = make_objective(rng, scaling=scaling)
    coef, intercept = rng.standard_normal((3, 4)), rng.standard_normal(3)
    back = objective.coefficients(objective.parameters(coef, intercept))
    assert_allclose(back[0], coef, rtol=1e-12)
    assert_allclose(back[1], intercept, rtol=1e-12)


def test_scaling_changes_the_parameters_and_not_the_loss(rng):
    coef, intercept = rng.standard_normal((3, 4)), rng.standard_normal(3)
    losses = []
    for scaling in (None, Scaling.unscaled()):
        objective = make_objective(np.random.default_rng(1), scaling=scaling)
        losses.append(objective.loss_gradient(objective.parameters(coef, intercept))[0])
    assert_allclose(losses[0], losses[1], rtol=1e-12)


def assert_inverts_the_hessian(rng, curvature, objective, vector):
    hessian = differences(lambda v: objective.loss_gradient(v)[1], vector)
    curvature.renew(vector)
    gradient = rng.standard_normal((objective.n_outputs, objective.n_columns))
    if objective.n_outputs > 1:  # gradients have no part that is constant over the classes
        gradient -= gradient.mean(axis=0)
    step = curvature.solve(objective.pack(gradient))
    assert_allclose(hessian @ step, objective.pack(gradient), atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_exact_curvature_inverts_the_hessian(rng, n_classes):
    objective = make_objective(rng, n_classes=n_classes)
    size = objective.n_outputs * objective.n_columns
    vector = 0.3 * rng.standard_normal(size)
    curvature = ExactCurvature(objective, objective.blocks.n_rows, rng)
    assert_inverts_the_hessian(rng, curvature, objective, vector)


def softmax_hessian(rows, proba, weight):
    """Return the Hessian by its definition."""
    return sum(
        w * np.kron(np.diag(p) - np.outer(p, p), np.outer(z, z))
        for w, p, z in zip(weight, proba.T, rows, strict=True)
    )


@pytest.mark.parametrize("n_outputs", [1, 4])
def test_softmax_hessian_by_definition(rng, n_outputs):
    rows, weight = rng.standard_normal((200, 3)), rng.random(200)
    proba = rng.dirichlet(np.ones(5), 200).T[:n_outputs]
    got = np.ones((3 * n_outputs, 3 * n_outputs), order="F")
    add_softmax_hessian(rows, proba, proba * (1 - proba), weight, got)
    expected = 1 + softmax_hessian(rows, proba, weight)
    assert_allclose(np.tril(got), np.tril(expected), atol=1e-12)


@pytest.mark.parametrize(("n_outputs", "n_columns"), [(1, 1), (4, 3), (7, 10)])
@pytest.mark.parametrize("n_rows", [1, 200])
def test_softmax_hessian_by_pairs(rng, monkeypatch, n_outputs, n_columns, n_rows):
    monkeypatch.setattr(_hessians, "_MOST_PAIR_ROWS", 64)  # several parts, the last not full
    rows, weight = rng.standard_normal((n_rows, n_columns)), rng.random(n_rows)
    proba = rng.dirichlet(np.ones(8), n_rows).T[:n_outputs]
    totals = np.zeros((n_outputs * (n_outputs + 1) // 2, n_columns * (n_columns + 1) // 2))
    add_pairs(rows, proba, proba * (1 - proba), weight, totals)
    got = unpack_pairs(totals, n_outputs, n_columns)
    assert_allclose(np.tril(got), np.tril(softmax_hessian(rows, proba, weight)), atol=1e-12)


def test_exact_curvature_by_blocks_and_from_a_copy(rng, monkeypatch):
    objective = make_objective(rng, n_classes=3)
    gradient = objective.pack(np.outer([1.0, -1.0, 0.0], np.arange(1.0, 6.0)))
    steps = []
    for small_table in (1 << 20, 0):
        monkeypatch.setattr(_newton, "_SMALL_TABLE", small_table)
        curvature = ExactCurvature(objective, 40, rng)
        curvature.renew(0.1 * np.ones(15))
        steps.append(curvature.solve(gradient))
    assert_allclose(steps[0], steps[1], rtol=1e-9, atol=1e-12)


def test_kronecker_curvature_is_exact_at_zero(rng):
    """All rows have the same probabilities there, so the Hessian is a Kronecker product."""
    objective = make_objective(rng, n_classes=3, weighted=False)
    vector = np.zeros(objective.n_outputs * objective.n_columns)
    exact = ExactCurvature(objective, 40, rng)
    kronecker = KroneckerCurvature(objective, 40, rng)
    gradient = rng.standard_normal((3, 5))
    gradient -= gradient.mean(axis=0)
    for model in (exact, kronecker):
        model.renew(vector)
    got, expected = (m.solve(objective.pack(gradient)) for m in (kronecker, exact))
    # Up to the ridge of 1e-6 that the basis is found with.
    assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3, 8])
def test_kronecker_curvature_has_the_variances_of_the_hessian(rng, n_classes):
    """In its basis: of classes, unless there are more than columns, and of features."""
    objective = make_objective(rng, n_classes=n_classes)
    n_outputs, n_columns = objective.n_outputs, objective.n_columns
    kronecker = KroneckerCurvature(objective, 40, rng)
    vector = 0.5 * rng.standard_normal(n_outputs * n_columns)
    kronecker.renew(vector)
    hessian = differences(lambda v: objective.loss_gradient(v)[1], vector)
    hessian = hessian.reshape(n_outputs, n_columns, n_outputs, n_columns)
    assert (kronecker._classes is None) == (n_classes != 3)
    U = np.eye(n_outputs) if kronecker._classes is None else kronecker._classes
    T = kronecker._features
    expected = np.einsum("ki,cj,kcld,li,dj->ij", U, T, hessian, U, T, optimize=True)
    assert_allclose(kronecker._variances, expected, rtol=1e-5)


@pytest.mark.parametrize("n_classes", [3, 40])
@pytest.mark.parametrize("model", [KroneckerCurvature, ExactCurvature])
def test_curvature_is_symmetric_and_positive(rng, model, n_classes):
    X = rng.standard_normal((12, 30))  # fewer rows than columns
    blocks = RowBlocks(X, rng.integers(0, n_classes, 12), n_classes=n_classes)
    objective = SoftmaxObjective(blocks, C=1.0)
    curvature = model(objective, 8, rng)
    curvature.renew(0.1 * rng.standard_normal(n_classes * 31))

    def centred():
        v = rng.standard_normal((n_classes, 31))
        return objective.pack(v - v.mean(axis=0))

    u, v = centred(), centred()
    assert_allclose(u @ curvature.solve(v), v @ curvature.solve(u), rtol=1e-6)
    assert u @ curvature.solve(u) > 0


@pytest.mark.parametrize("sparse", [False, True])
def test_diagonal_curvature(rng, sparse):
    objective = make_objective(rng, sparse=sparse)
    vector = 0.3 * rng.standard_normal(objective.n_outputs * objective.n_columns)
    hessian = differences(lambda v: objective.loss_gradient(v)[1], vector)
    curvature = DiagonalCurvature(objective, rng)
    if not sparse:
        curvature._sample = objective.rows.sample(objective.blocks.n_rows, rng)
    curvature.renew(vector)
    step = curvature.solve(np.ones_like(vector))
    assert_allclose(step, 1 / np.diag(hessian), rtol=1e-5)
    free = np.arange(len(vector)) % 2 == 0
    assert_array_equal(curvature.solve(np.ones_like(vector), free), np.where(free, step, 0))


def test_sample_estimates_weighted_means(rng):
    X = rng.standard_normal((5000, 2)) ** 3
    weight = rng.random(5000) * (rng.random(5000) < 0.5)
    blocks = RowBlocks(X, rng.integers(0, 2, 5000), weight, n_classes=2)
    objective = SoftmaxObjective(blocks, C=1.0, scaling=Scaling.unscaled())
    sample = objective.rows.sample(2000, rng)
    rows, sample_weight = sample.at_once()
    assert_allclose(sample_weight.sum(), 1)
    expected = np.average(X**2, axis=0, weights=weight)
    assert_allclose(sample_weight @ rows[:, :2] ** 2, expected, rtol=0.1)
    parts = list(sample.parts())
    assert len(parts) > 1
    for part, some_rows in parts:
        assert_array_equal(some_rows, rows[part])
    everything, all_weights = objective.rows.sample(5000, rng).at_once()
    assert_array_equal(everything[:, :2], X[weight > 0])
    assert_allclose(all_weights, weight[weight > 0] / weight.sum())


def test_exact_hessian_waits_until_it_pays(rng):
    X, y = rng.standard_normal((2000, 20)), rng.integers(0, 8, 2000)
    objective = SoftmaxObjective(RowBlocks(X, y, n_classes=8), C=1.0)
    curvature = Curvature(objective)
    vector = np.zeros(8 * 21)
    is_exact = []
    for n_evaluations in range(60):
        curvature.update(vector, n_evaluations)
        is_exact.append(curvature.replaces_steps)
    assert not is_exact[0]
    assert is_exact[-1]
    assert is_exact == sorted(is_exact)


def test_sums_do_not_depend_on_blocks_or_threads(rng, monkeypatch):
    monkeypatch.setattr(_worker_threads, "_MIN_WORK", 0)
    X, y = rng.standard_normal((3000, 5)), rng.integers(0, 3, 3000)
    vector = rng.standard_normal(18)
    results = []
    for n_jobs, block_rows in ((1, 3000), (1, 700), (2, 512), (3, 999)):
        with RowBlocks(X, y, n_classes=3, n_jobs=n_jobs) as blocks:
            blocks.block_rows = block_rows
            results.append(SoftmaxObjective(blocks, C=1.0).loss_gradient(vector))
    for loss, gradient in results[1:]:
        assert_allclose(loss, results[0][0], rtol=1e-14)
        assert_allclose(gradient, results[0][1], atol=1e-14)


def test_float32_sums_do_not_depend_on_the_number_of_threads(rng):
    X, y = rng.standard_normal((20_000, 60)), rng.integers(0, 5, 20_000)
    vector, scaling, sums = rng.standard_normal(5 * 61), None, []
    for n_jobs in (1, 2, 3):
        with RowBlocks(X, y, n_classes=5, n_jobs=n_jobs) as blocks:
            objective = SoftmaxObjective(blocks, C=1.0, scaling=scaling)
            scaling, rough = objective.scaling, objective.rough()
            assert rough.blocks.dtype == np.float32
            sums.append(rough.loss_gradient(vector))
    for loss, gradient in sums[1:]:
        assert_allclose(loss, sums[0][0], rtol=1e-14)
        assert_allclose(gradient, sums[0][1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("to_array", [np.asarray, array_api_strict.asarray])
def test_variances_keep_their_digits_where_a_class_is_sure(to_array):
    proba = np.array([[1e-18, 0.5, 0.3], [1.0, 0.5, 0.3], [2e-20, 0.0, 0.4]])
    expected = [[1e-18, 0.25, 0.21], [1.02e-18, 0.25, 0.21], [2e-20, 0.0, 0.24]]
    assert_allclose(np.asarray(spread(to_array(proba))), expected, rtol=1e-14)
