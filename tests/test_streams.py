"""Streams, however they are cut; and SGD that tells of a failure."""

import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._solvers import sgd as _sgd
from sklearn_softmax._solvers.sgd_steps import Momentum, average_share

N_CLASSES = 4
CLASSES = np.arange(N_CLASSES)


def made(n_rows, seed=0, n_features=12):
    """Return rows of features of very different scales, and labels drawn from a softmax of them."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n_rows, n_features))
    mixed = rows @ (np.eye(n_features) + 0.3 * rng.standard_normal((n_features, n_features)))
    logits = mixed @ rng.standard_normal((n_features, N_CLASSES))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return mixed * 10.0 ** rng.uniform(-3, 3, n_features) + 10.0, y


def optimum(X, y, weight=None):
    """Return the least penalised mean loss at C=1, by SciPy, on standardised columns."""
    weight = np.ones(len(y)) if weight is None else weight
    scale = np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    rows = np.column_stack([(X - X.mean(axis=0)) / scale, np.ones(len(y))])
    strength = np.append(1 / scale**2, 0.0) / weight.sum()
    targets, share = np.eye(N_CLASSES)[y], weight / weight.sum()

    def value_and_gradient(flat):
        W = flat.reshape(N_CLASSES, -1)
        logits = rows @ W.T
        logits -= scipy.special.logsumexp(logits, axis=1, keepdims=True)
        residual = share[:, None] * (np.exp(logits) - targets)
        value = -np.sum(share[:, None] * targets * logits) + 0.5 * np.sum(strength * W**2)
        return value, (residual.T @ rows + strength * W).ravel()

    start = np.zeros(N_CLASSES * rows.shape[1])
    found = scipy.optimize.minimize(
        value_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 3000}
    )
    return found.fun


def loss(clf, X, y, weight=None):
    return log_loss(y, clf.predict_proba(X), labels=CLASSES, sample_weight=weight)


def cut(n_rows, sizes, seed=0):
    """Yield slices of so many rows: of a size, or of sizes drawn between two."""
    rng, start = np.random.default_rng(seed), 0
    while start < n_rows:
        size = rng.integers(*sizes) if isinstance(sizes, tuple) else sizes
        yield slice(start, min(start + size, n_rows))
        start += size


def streamed(clf, X, y, sizes, weight=None):
    for rows in cut(X.shape[0], sizes):
        part = None if weight is None else weight[rows]
        clf.partial_fit(X[rows], y[rows], classes=CLASSES, sample_weight=part)
    return clf


@pytest.fixture(scope="module")
def table():
    X, y = made(3000)
    return X, y, optimum(X, y)


# How they are cut --------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [1, (1, 21), 100, 3000])
def test_one_pass_comes_near_the_optimum_however_it_is_cut(table, sizes):
    X, y, best = table
    assert (
        loss(streamed(SoftmaxRegressionClassifier(random_state=0), X, y, sizes), X, y) < 1.2 * best
    )


@pytest.mark.parametrize("first", [1, 3, 1000])
def test_a_first_chunk_of_any_size(table, first):
    X, y, best = table
    clf = SoftmaxRegressionClassifier(random_state=0)
    clf.partial_fit(X[:first], y[:first], classes=CLASSES)
    assert loss(streamed(clf, X[first:], y[first:], (1, 21)), X, y) < 1.2 * best


@pytest.mark.parametrize("sizes", [(1, 21), 130])
def test_given_steps_agree_however_rows_are_cut(table, sizes):
    """In the limit of small steps the shares of full batches make the same path."""
    X, y, _ = table
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    options = {"C": np.inf, "batch_size": 100, "learning_rate_init": 1e-3, "shuffle": False}
    for momentum in (0.0, 0.9):
        clf = SoftmaxRegressionClassifier(**options, momentum=momentum, learning_rate="constant")
        whole = clone(clf).partial_fit(X, y, classes=CLASSES)
        assert_allclose(
            streamed(clf, X, y, sizes).coef_, whole.coef_, atol=2e-2 * np.ptp(whole.coef_)
        )


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_gradient_moves_as_far_whatever_the_shares_of_steps(nesterov):
    momentum, moved = Momentum(0.8, nesterov), []
    for shares in ([1.0], [0.25], [1.5]):
        velocity, total, last = np.zeros(1), 0.0, 1.0
        share = shares[0]
        for gradient in np.append(1.0, np.zeros(2000)):
            total += momentum.advance(velocity, np.array([gradient]), share, last)[0]
            last = share
        moved.append(total)
    assert_allclose(moved, momentum.reach, rtol=1e-12)


def test_the_average_does_not_see_how_steps_are_cut():
    """What is kept of the past after a step is what is kept after two that make it up."""
    for time, share in ((5.0, 1.0), (7.25, 0.5), (1.0, 1.0)):
        middle = time - share / 3
        kept = (1 - average_share(middle, 2 * share / 3)) * (1 - average_share(time, share / 3))
        assert_allclose(kept, 1 - average_share(time, share), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("n_rows", [3, 10, 33, 64, 65, 97, 129, 257, 513])
@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 32}, {"batch_size": 1}, {"batch_size": 10_000}]
)
@pytest.mark.filterwarnings("ignore:sgd did not converge in max_iter")
def test_a_fit_of_any_number_of_rows(n_rows, options):
    X, y = made(n_rows, seed=1)
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0, **options).fit(X, y)
    coded = np.searchsorted(clf.classes_, y)
    found = log_loss(coded, clf.predict_proba(X), labels=np.arange(len(clf.classes_)))
    best = SoftmaxRegressionClassifier(tol=1e-6).fit(X, y)
    least = log_loss(coded, best.predict_proba(X), labels=np.arange(len(clf.classes_)))
    assert found < least + 0.15


# What comes late, in other order, or in other kinds ------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 21), 100])
@pytest.mark.parametrize("first", [1, 100])
def test_features_that_come_late(table, sizes, first):
    X, y, best = table
    X = X.copy()
    X[:1500, 3], X[:1500, 5] = 0.0, 7.0
    clf = SoftmaxRegressionClassifier(random_state=0)
    clf.partial_fit(X[:first], y[:first], classes=CLASSES)
    streamed(clf, X[first:], y[first:], sizes)
    assert loss(clf, X[1500:], y[1500:]) < 1.3 * best


def test_a_feature_that_comes_after_a_fit(table):
    X, y, best = table
    X = X.copy()
    X[:1000, 3] = 0.0
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0).fit(X[:1000], y[:1000])
    assert loss(streamed(clf, X[1000:], y[1000:], 20), X[1000:], y[1000:]) < 1.3 * best


@pytest.mark.parametrize("first_is_sparse", [False, True])
def test_dense_and_sparse_chunks_in_turn(first_is_sparse):
    X, y = made(3000, seed=2)
    X = (X - 10.0) * (np.random.default_rng(0).random(X.shape) < 0.5)
    turns = SoftmaxRegressionClassifier(random_state=0)
    same = clone(turns)
    for number, rows in enumerate(cut(3000, 100)):
        is_sparse = (number % 2 == 0) == first_is_sparse
        turns.partial_fit(sp.csr_array(X[rows]) if is_sparse else X[rows], y[rows], CLASSES)
        same.partial_fit(sp.csr_array(X[rows]) if first_is_sparse else X[rows], y[rows], CLASSES)
    if not first_is_sparse:  # the same steps in another order of sums
        assert_allclose(turns.predict_proba(X), same.predict_proba(X), atol=1e-6)
    assert loss(turns, X, y) < 1.2 * optimum(X, y)


@pytest.mark.parametrize("sizes", [20, 200])
def test_rows_in_order_of_class_leave_no_chunk_worse(table, sizes):
    X, y, _ = table
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    clf = SoftmaxRegressionClassifier(random_state=0).partial_fit(X[:1], y[:1], CLASSES)
    for rows in cut(len(y), sizes):
        before = loss(clf, X[rows], y[rows])
        clf.partial_fit(X[rows], y[rows])
        noise = 0.05 * before + 0.5 * np.log(N_CLASSES) / np.sqrt(sizes)
        assert loss(clf, X[rows], y[rows]) <= before + noise + 1e-9


def test_a_fit_of_rows_in_order_of_class(table):
    X, y, best = table
    order = np.argsort(y, kind="stable")
    clf = SoftmaxRegressionClassifier(solver="sgd", shuffle=False).fit(X[order], y[order])
    assert loss(clf, X, y) < 1.05 * best


@pytest.mark.parametrize("sizes", [(2, 21), 500])
def test_weights_in_a_stream(sizes):
    """Rows that weigh nothing, little and much; the reference sees the weights as they are."""
    X, y = made(4000, seed=3)
    weight = np.random.default_rng(0).lognormal(sigma=1.0, size=4000)
    weight[::5] = 0.0
    wild = np.where(weight[:, None] > 0, X, 1e9)
    clf = streamed(SoftmaxRegressionClassifier(random_state=0), wild, y, sizes, weight)
    keep = weight > 0
    best = optimum(X[keep], y[keep], weight[keep])
    assert loss(clf, X[keep], y[keep], weight[keep]) < 1.3 * best


def test_a_unit_of_weight_is_none(table):
    X, y, _ = table
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    options = {"C": np.inf, "random_state": 0}
    models = [
        streamed(SoftmaxRegressionClassifier(**options), X[:600], y[:600], 7, unit * weight)
        for unit in (1.0, 1024.0)
    ]
    assert_allclose(models[1].predict_proba(X), models[0].predict_proba(X), atol=1e-8)


def test_a_heavy_row_takes_as_many_steps_as_it_weighs(table):
    """A fit with one row that weighs as much as many batches reaches the weighted optimum."""
    X, y, _ = table
    weight = np.ones(3000)
    weight[17] = 3000.0
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0).fit(X, y, weight)
    assert loss(clf, X, y, weight) < 1.1 * optimum(X, y, weight)


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_float32_far_from_zero(offset):
    X, y = made(2000, seed=4)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    far = (X + offset).astype(np.float32)
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0).fit(far, y)
    exact = far.astype(np.float64) - offset
    assert loss(clf, far, y) < 1.02 * optimum(exact, y)


def test_a_penalty_beyond_any_number_of_lazy_steps():
    """What it takes of a feature of tiny scale in an epoch is no number of float64."""
    X, y = made(1000, seed=7)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    X[:, 2] *= 1e-13
    clf = SoftmaxRegressionClassifier(solver="sgd", C=1e-2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        sparse = clone(clf).fit(sp.csr_array(X), y)
        dense = clf.fit(X, y)
    assert_allclose(sparse.predict_proba(X), dense.predict_proba(X), atol=0.02)


# A model that is there ---------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize("n_rows", [500, 2000])
@pytest.mark.parametrize("sizes", [(1, 21), 500])
def test_a_stream_after_a_fit_loses_nothing(solver, n_rows, sizes):
    X, y = made(6000, seed=5)
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0).fit(X[:n_rows], y[:n_rows])
    before = loss(clf, X[4000:], y[4000:])
    streamed(clf, X[n_rows:4000], y[n_rows:4000], sizes)
    assert loss(clf, X[4000:], y[4000:]) < 1.02 * before + 0.005


def test_coefficients_set_by_hand_are_gone_on_from(table):
    X, y, best = table
    found = SoftmaxRegressionClassifier().fit(X, y)
    clf = SoftmaxRegressionClassifier(random_state=0).partial_fit(X[:50], y[:50], CLASSES)
    clf.coef_, clf.intercept_ = found.coef_.copy(), found.intercept_.copy()
    clf.partial_fit(X[50:60], y[50:60])
    assert loss(clf, X, y) < 1.1 * best
    clf.coef_ *= 0.0  # in place
    clf.intercept_ *= 0.0
    clf.partial_fit(X[60:61], y[60:61])
    assert loss(clf, X, y) > 0.9 * np.log(N_CLASSES)


def test_a_model_of_coefficients_alone(table):
    X, y, best = table
    found = SoftmaxRegressionClassifier().fit(X, y)
    clf = SoftmaxRegressionClassifier(random_state=0)
    clf.classes_, clf.n_features_in_ = found.classes_, X.shape[1]
    clf.coef_, clf.intercept_ = found.coef_.copy(), found.intercept_.copy()
    clf.partial_fit(X[:200], y[:200])
    assert loss(clf, X, y) < 1.1 * best


CHANGES = {
    "average": {"average": False},
    "l1_ratio": {"l1_ratio": 0.5},
    "C": {"C": 1e-3},
    "no penalty": {"C": np.inf},
    "momentum": {"momentum": 0.0},
    "small batches": {"batch_size": 1},
    "large batches": {"batch_size": 5000},
    "schedule": {"learning_rate": "constant"},
    "solver": {"solver": "sgd"},
    "random_state": {"random_state": 7},
    "shuffle": {"shuffle": False},
}


@pytest.mark.parametrize("change", CHANGES)
def test_parameters_set_between_chunks(table, change):
    X, y, best = table
    clf = streamed(SoftmaxRegressionClassifier(random_state=0), X[:1500], y[:1500], 100)
    other = clone(clf)
    vars(other).update(vars(clf))
    clf.set_params(**CHANGES[change])
    for model in (clf, other):
        streamed(model, X[1500:], y[1500:], 100)
    assert loss(clf, X, y) < 1.35 * best
    if change != "solver":  # which partial_fit does not look at
        assert (clf.coef_ != other.coef_).any()


def test_intercepts_may_come_and_not_go(table):
    X, y, _ = table
    clf = SoftmaxRegressionClassifier(fit_intercept=False, random_state=0)
    clf.partial_fit(X[:500], y[:500], CLASSES)
    assert_array_equal(clf.intercept_, 0.0)
    clf.set_params(fit_intercept=True).partial_fit(X[500:1000], y[500:1000])
    assert clf.intercept_.any()
    before = clf.coef_.copy()
    clf.set_params(fit_intercept=False)
    with pytest.raises(ValueError, match="fit_intercept=False from a model that has intercepts"):
        clf.partial_fit(X[1000:], y[1000:])
    assert_array_equal(clf.coef_, before)


# What is told ------------------------------------------------------------------------------


def test_a_rate_too_large_is_told(table):
    X, y, _ = table
    options = {"learning_rate_init": 1e3, "learning_rate": "constant", "random_state": 0}
    with pytest.warns(ConvergenceWarning, match="sgd ended at an objective of .*which is above"):
        SoftmaxRegressionClassifier(solver="sgd", **options).fit(X, y)
    clf = SoftmaxRegressionClassifier(random_state=0).partial_fit(X[:500], y[:500], CLASSES)
    clf.set_params(**options)
    with pytest.warns(ConvergenceWarning, match="partial_fit has left a mean loss of .*Lower"):
        clf.partial_fit(X[500:520], 3 - y[500:520])


def test_a_penalty_that_is_not_finite_is_divergence(table):
    X, y, _ = table
    # (A step so long that the coefficients' squares overflow, on rows that all fit.)
    clf = SoftmaxRegressionClassifier(
        solver="sgd", learning_rate_init=1e200, batch_size=3000, max_iter=3, tol=0, random_state=0
    )
    with pytest.raises(ValueError, match="SGD has diverged at a learning rate of 1e\\+200"):
        clf.fit(X, y)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_early_stopping_keeps_a_warm_start_that_is_best(table, solver):
    """What comes after is fitted to labels that the validation rows contradict."""
    X, y, _ = table
    options = {"early_stopping": True, "warm_start": True, "random_state": 0}
    clf = SoftmaxRegressionClassifier(solver=solver, **options).fit(X, y)
    from sklearn_softmax._targets import split_rows

    _, held_out = split_rows(y, None, 0.1, 0)
    before = clf.coef_.copy(), loss(clf, X[held_out], y[held_out])
    clf.set_params(C=1e-9, tol=0.0, max_iter=3).fit(X, y)
    assert loss(clf, X[held_out], y[held_out]) <= before[1] + 1e-12
    assert max(clf.validation_score_curve_) < -before[1]
    assert_allclose(clf.coef_, before[0], rtol=1e-9, atol=1e-12)


def test_a_warm_fit_of_sgd_is_no_worse_than_its_start(table):
    X, y, best = table
    clf = SoftmaxRegressionClassifier(warm_start=True, random_state=0, tol=1e-6).fit(X, y)
    clf.set_params(solver="sgd", tol=1e-4).fit(X, y)
    assert loss(clf, X, y) < best * 1.0001


def test_the_judge_sees_rows_of_all_weights():
    """Of many rows it draws some by weight: the mean loss of all, but for the draw."""
    from sklearn_softmax._objective.minibatches import MinibatchObjective
    from sklearn_softmax._rows.blocks import RowBlocks

    X, y = made(20_000, seed=6)
    weight = np.random.default_rng(0).lognormal(sigma=2.0, size=20_000)
    with RowBlocks(X, y, weight, n_classes=N_CLASSES) as blocks:
        objective = MinibatchObjective(blocks, C=np.inf)
        vector = np.random.default_rng(0).normal(0, 0.5, 4 * 13)
        found = _sgd.Judge(objective, is_stream=False).loss(vector)
        assert_allclose(found, objective.loss_gradient(vector)[0], rtol=0.1)


def test_a_wrong_label_is_not_spoken_of(rng):
    X, y = rng.standard_normal((3000, 3)), rng.integers(0, 2, 3000)
    X += 10.0 * y[:, None]
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0, C=1e3).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.partial_fit(X[:1], 1 - y[:1])
        clf.partial_fit(X[:20], np.where(np.arange(20) == 7, 1 - y[:20], y[:20]))
