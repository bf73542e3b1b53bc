"""The formulas, on every array library: values, stability, derivatives."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_softmax import functional as F

from .conftest import to_numpy

finite = st.floats(-50, 50, allow_nan=False, width=64)
matrices = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=finite)


@pytest.fixture
def problem(rng):
    """Logits, labels, soft targets and weights for 7 rows of 4 classes."""
    logits = 3 * rng.standard_normal((7, 4))
    labels = rng.integers(0, 4, 7)
    soft = rng.dirichlet(np.ones(4), 7)
    weight = rng.integers(1, 4, 7).astype(float)
    return logits, labels, soft, weight


def move(xp, *arrays):
    return [None if a is None else xp.asarray(a) for a in arrays]


@pytest.mark.parametrize("axis", [-1, 0])
def test_values_match_scipy(xp, problem, axis):
    logits = problem[0]
    (o,) = move(xp, logits)
    lse = F.logsumexp(o, axis=axis)
    assert_allclose(to_numpy(lse), scipy.special.logsumexp(logits, axis=axis), rtol=1e-14)
    assert_allclose(to_numpy(F.softmax(o, axis=axis)), scipy.special.softmax(logits, axis=axis))
    assert_allclose(
        to_numpy(F.log_softmax(o, axis=axis)), scipy.special.log_softmax(logits, axis=axis)
    )
    assert_array_equal(to_numpy(o), logits)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits(xp, dtype):
    o = xp.asarray([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]], dtype=getattr(xp, dtype))
    assert_allclose(to_numpy(F.softmax(o)), [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
    assert_allclose(to_numpy(F.log_softmax(o)), [[0, -1e4, -2e4], [-np.log(3)] * 3], rtol=1e-4)
    y = xp.asarray([2, 0])
    loss = F.cross_entropy(o, y, reduction="none")
    assert_allclose(to_numpy(loss), [2e4, np.log(3)], rtol=1e-4)
    gradient = F.cross_entropy_gradient(o, y, reduction="sum")
    assert_allclose(to_numpy(gradient), [[1, 0, -1], [-2 / 3, 1 / 3, 1 / 3]], rtol=1e-6)
    assert F.softmax(o).dtype == o.dtype
    assert gradient.dtype == o.dtype


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_by_its_definition(xp, problem, smoothing, reduction, weighted):
    logits, labels, soft, weight = problem
    w = weight if weighted else np.ones(7)
    log_proba = scipy.special.log_softmax(logits, axis=1)
    for y, target in ((labels, np.eye(4)[labels]), (soft, soft)):
        target = (1 - smoothing) * target + smoothing / 4
        losses = -w * (target * log_proba).sum(axis=1)
        expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / w.sum()}
        o, yy, ww = move(xp, logits, y, weight if weighted else None)
        got = F.cross_entropy(
            o, yy, sample_weight=ww, label_smoothing=smoothing, reduction=reduction
        )
        assert_allclose(to_numpy(got), expected[reduction], rtol=1e-13)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("axis", [-1, 0])
def test_gradient_by_finite_differences(xp, problem, soft, reduction, axis):
    logits, labels, proba, weight = problem
    y = proba if soft else labels
    if axis == 0:
        logits, y = logits.T, y.T

    def loss(o):
        o, yy, ww = move(xp, o, y, weight)
        value = F.cross_entropy(
            o, yy, sample_weight=ww, label_smoothing=0.1, reduction=reduction, axis=axis
        )
        return float(value)

    o, yy, ww = move(xp, logits, y, weight)
    options = {
        "sample_weight": ww,
        "label_smoothing": 0.1,
        "reduction": reduction,
        "axis": axis,
    }
    gradient = to_numpy(F.cross_entropy_gradient(o, yy, **options))
    value, again = F.cross_entropy_loss_gradient(o, yy, **options)
    assert_allclose(float(value), loss(logits), rtol=1e-13)
    assert_array_equal(to_numpy(again), gradient)
    step = 1e-5
    for index in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += step
        down[index] -= step
        assert_allclose(gradient[index], (loss(up) - loss(down)) / (2 * step), atol=1e-8)


def test_overwriting_gives_the_same(xp, problem):
    logits, labels, _, weight = problem
    o, y, w = move(xp, logits, labels, weight)
    kept = F.cross_entropy_loss_gradient(o, y, sample_weight=w)
    scratch = xp.asarray(logits, copy=True)
    overwritten = F.cross_entropy_loss_gradient(scratch, y, sample_weight=w, overwrite_logits=True)
    assert float(kept[0]) == float(overwritten[0])
    assert_array_equal(to_numpy(kept[1]), to_numpy(overwritten[1]))
    assert_array_equal(to_numpy(o), logits)
    assert_array_equal(
        to_numpy(F.softmax(xp.asarray(logits, copy=True), overwrite_logits=True)),
        to_numpy(F.softmax(o)),
    )


def test_jacobian_and_hessp_by_finite_differences(xp, problem, rng):
    logits = problem[0]
    (o,) = move(xp, logits)
    proba = F.softmax(o)
    jacobian = to_numpy(F.softmax_jacobian(proba))
    step = 1e-6
    for k in range(4):
        shift = step * np.eye(4)[k]
        up, down = (
            scipy.special.softmax(logits + shift, 1),
            scipy.special.softmax(logits - shift, 1),
        )
        assert_allclose(jacobian[:, :, k], (up - down) / (2 * step), atol=1e-9)
    vector = rng.standard_normal((7, 4))
    product = F.cross_entropy_hessp(proba, xp.asarray(vector))
    assert_allclose(to_numpy(product), np.einsum("nkl,nl->nk", jacobian, vector), atol=1e-14)
    of_columns = F.softmax_jacobian(xp.asarray(to_numpy(proba).T, copy=True), axis=0)
    assert_allclose(to_numpy(of_columns), jacobian, atol=1e-16)


def test_entropy(xp):
    proba = xp.asarray([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
    assert_allclose(to_numpy(F.entropy(proba, unit="bits")), [1, 0, 1.5], atol=1e-15)
    assert_allclose(to_numpy(F.entropy(proba)), np.array([1, 0, 1.5]) * np.log(2), atol=1e-15)
    with pytest.raises(ValueError, match="unit must be 'nats' or 'bits', got 'bytes'"):
        F.entropy(proba, unit="bytes")


def test_entropy_is_the_least_cross_entropy(problem):
    soft = problem[2]
    at_truth = F.cross_entropy(np.log(soft), soft, reduction="none")
    assert_allclose(at_truth, F.entropy(soft), rtol=1e-13)
    elsewhere = F.cross_entropy(np.log(soft) + problem[0], soft, reduction="none")
    assert (elsewhere > at_truth).all()


@pytest.mark.parametrize("temperature", [0.25, 1.0, 7.0])
@pytest.mark.parametrize("axis", [-1, 0])
def test_temperature_divides_the_logits(xp, problem, temperature, axis):
    logits = problem[0]
    (o,) = move(xp, logits)
    options = {"temperature": temperature, "axis": axis}
    proba = scipy.special.softmax(logits / temperature, axis=axis)
    log_proba = scipy.special.log_softmax(logits / temperature, axis=axis)
    assert_allclose(to_numpy(F.softmax(o, **options)), proba, rtol=1e-13)
    # (Near a probability of 1 the logarithm is as precise as 1 is.)
    assert_allclose(to_numpy(F.log_softmax(o, **options)), log_proba, rtol=1e-13, atol=1e-15)
    assert_array_equal(to_numpy(o), logits)
    scratch = xp.asarray(logits, copy=True)
    overwritten = F.softmax(scratch, overwrite_logits=True, **options)
    assert_array_equal(to_numpy(overwritten), to_numpy(F.softmax(o, **options)))


def test_low_temperatures_do_not_overflow():
    logits = np.array([1e4, 0.0], dtype=np.float32)
    assert_array_equal(F.softmax(logits, temperature=1e-3), [1, 0])
    assert F.log_softmax(logits, temperature=1e-3)[0] == 0


@pytest.mark.parametrize("temperature", [0, -1.0, np.inf, np.nan])
def test_temperatures_that_are_none(temperature):
    for function in (F.softmax, F.log_softmax):
        with pytest.raises(ValueError, match="temperature must be a finite number above 0, got"):
            function(np.zeros(2), temperature=temperature)


@pytest.mark.parametrize("axis", [-1, 0])
def test_probabilities_are_refused(xp, problem, axis):
    """And what differs from them by a constant, which has the same softmax, is not."""
    logits, labels, soft, _ = problem
    proba = scipy.special.softmax(logits, axis=axis)
    y = labels if axis == -1 else np.zeros(4, dtype=int)
    p, yy, target = move(xp, proba, y, soft)
    for dtype in (xp.float32, xp.float64):
        cast = xp.astype(p, dtype)
        for function in (F.cross_entropy, F.cross_entropy_gradient):
            with pytest.raises(ValueError, match="look like probabilities"):
                function(cast, yy, axis=axis)
        with pytest.raises(ValueError, match="look like probabilities"):
            F.kl_divergence(cast, target, axis=axis)
    shifted = float(F.cross_entropy(p - 1.0, yy, axis=axis))
    by_rows = scipy.special.log_softmax(proba, axis=axis)
    taken = np.take_along_axis(by_rows, np.expand_dims(y, axis), axis)
    assert_allclose(shifted, -taken.mean(), rtol=1e-13)
    assert np.isfinite(float(F.cross_entropy(xp.log(p), yy, axis=axis)))


def test_logits_that_are_distributions_in_some_rows_only(problem):
    logits, labels, soft, _ = problem
    mixed = np.concatenate([soft, logits[:1]])
    F.cross_entropy(mixed, np.append(labels, 0))
    F.cross_entropy(np.zeros((0, 3)), np.zeros(0, dtype=int), reduction="sum")


def test_kl_divergence(xp, problem):
    logits, _, soft, _ = problem
    soft[0] = [1, 0, 0, 0]
    o, y = move(xp, logits, soft)
    expected = scipy.special.rel_entr(soft, scipy.special.softmax(logits, axis=1)).sum(axis=1)
    got = to_numpy(F.kl_divergence(o, y))
    assert_allclose(got, expected, rtol=1e-12)
    assert_allclose(to_numpy(F.kl_divergence(o, y, unit="bits")), expected / np.log(2), rtol=1e-12)
    gap = to_numpy(F.cross_entropy(o, y, reduction="none")) - to_numpy(F.entropy(y))
    assert_allclose(got, gap, rtol=1e-11)
    columns = [xp.asarray(array.T, copy=True) for array in (logits, soft)]
    assert_allclose(to_numpy(F.kl_divergence(*columns, axis=0)), got, rtol=1e-13)


def test_kl_divergence_at_its_ends():
    with np.errstate(divide="ignore"):
        target = np.array([0.5, 0.5, 0.0])
        same = np.log(target)
    assert F.kl_divergence(same, target) == 0
    assert F.kl_divergence(np.array([0.0, -np.inf, 0.0]), target) == np.inf


def test_kl_divergence_refuses_labels():
    with pytest.raises(ValueError, match="For labels the divergence is the cross-entropy"):
        F.kl_divergence(np.zeros((2, 3)), np.array([0, 1]))
    with pytest.raises(ValueError, match="unit must be"):
        F.kl_divergence(np.zeros(2), np.array([0.0, 1.0]), unit="bytes")


def test_higher_dimensions(rng):
    logits, labels = rng.standard_normal((2, 3, 4)), rng.integers(0, 4, (2, 3))
    loss, gradient = F.cross_entropy_loss_gradient(logits, labels, reduction="sum")
    flat, flat_gradient = F.cross_entropy_loss_gradient(
        logits.reshape(6, 4), labels.ravel(), reduction="sum"
    )
    assert_allclose(loss, flat)
    assert_allclose(gradient.reshape(6, 4), flat_gradient)


def test_unknown_reduction(problem):
    with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none', got 'max'"):
        F.cross_entropy(problem[0], problem[1], reduction="max")


@given(matrices, finite)
def test_shift_of_logits_changes_nothing(logits, shift):
    assert_allclose(F.softmax(logits + shift), F.softmax(logits), rtol=1e-9, atol=1e-300)
    labels = np.zeros(len(logits), dtype=int)
    assert_allclose(
        F.cross_entropy(logits + shift, labels), F.cross_entropy(logits, labels), atol=1e-9
    )
    assert_allclose(F.logsumexp(logits + shift), F.logsumexp(logits) + shift, atol=1e-10)


@given(matrices)
def test_permutation_of_classes_permutes_the_result(logits):
    order = np.arange(logits.shape[1])[::-1]
    assert_allclose(F.softmax(logits[:, order]), F.softmax(logits)[:, order], rtol=1e-12)
    labels = np.zeros(len(logits), dtype=int)
    moved = np.full(len(logits), logits.shape[1] - 1)
    assert_allclose(
        F.cross_entropy(logits[:, order], moved), F.cross_entropy(logits, labels), atol=1e-12
    )


@given(matrices)
def test_softmax_is_the_many_class_sigmoid(logits):
    difference = logits[:, 1] - logits[:, 0]
    assert_allclose(
        F.softmax(logits[:, :2])[:, 1], scipy.special.expit(difference), rtol=1e-12, atol=1e-300
    )
