"""Minibatch SGD: the textbook step, schedules, early stopping, streams."""

import warnings

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from sklearn_softmax import SoftmaxRegressionClassifier, functional
from sklearn_softmax._fitting_sgd import fit as _sgd_fit
from sklearn_softmax._solvers.sgd import Epoch, Schedule, sgd
from sklearn_softmax._solvers.sgd_steps import Momentum, proximal_point

TEXTBOOK = {
    "solver": "sgd",
    "C": np.inf,
    "batch_size": 256,
    "learning_rate": "constant",
    "learning_rate_init": 0.5,
    "momentum": 0.0,
    "shuffle": False,
    "tol": 0.0,
}
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def textbook_epoch(X, y, W, b, rate, batch_size, momentum=0.0):
    """Take an epoch in place; a batch that is not full counts as the share of one that it is."""
    velocity, losses, shares = [np.zeros_like(W), np.zeros_like(b)], [], []
    for start in range(0, len(X), batch_size):
        rows, labels = X[start : start + batch_size], y[start : start + batch_size]
        loss, residual = functional.cross_entropy_loss_gradient(rows @ W.T + b, labels)
        losses.append(loss)
        shares.append(len(rows) / batch_size)
        reach = (1 - momentum ** shares[-1]) / (1 - momentum)
        for array, v, gradient in (
            (W, velocity[0], residual.T @ rows),
            (b, velocity[1], residual.sum(axis=0)),
        ):
            v *= momentum
            v += shares[-1] * gradient
            array -= rate * v * (reach if momentum else 1.0)
    return np.average(losses, weights=shares)


@quiet
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_are_the_textbook_ones(digits, momentum):
    X, y = digits
    W, b = np.zeros((10, 64)), np.zeros(10)
    loss = textbook_epoch(X, y, W, b, rate=0.5, batch_size=256, momentum=momentum)
    clf = SoftmaxRegressionClassifier(**{**TEXTBOOK, "momentum": momentum, "max_iter": 1})
    clf.fit(X, y)
    assert_allclose(clf.loss_curve_, [loss], rtol=1e-12)
    assert_allclose(clf.coef_, W, atol=1e-12)
    assert_allclose(clf.intercept_, b - b.mean(), atol=1e-12)


@quiet
def test_sparse_rows_take_the_same_steps(digits):
    X, y = digits
    clf = SoftmaxRegressionClassifier(**{**TEXTBOOK, "max_iter": 2, "l1_ratio": 0.5, "C": 1.0})
    dense = clf.fit(X, y).coef_
    assert_allclose(clf.fit(sp.csr_array(X), y).coef_, dense, atol=1e-12)


@quiet
@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({"learning_rate": "invscaling"}, [0.5, 0.5 / 1.01 ** (2 / 3)]),
        ({"learning_rate": "cosine"}, [0.5, 0.25]),
        ({"warmup_steps": 1}, [0.25, 0.5]),
    ],
)
def test_schedules(digits, options, rates):
    X, y = digits
    clf = SoftmaxRegressionClassifier(**{**TEXTBOOK, "max_iter": 1, **options})
    W, b = np.zeros((10, 64)), np.zeros(10)
    for rate, rows in zip(rates, (slice(256), slice(256, 512)), strict=True):
        textbook_epoch(X[rows], y[rows], W, b, rate=rate, batch_size=256)
    assert_allclose(clf.fit(X[:512], y[:512]).coef_, W, atol=1e-12)


class Quadratic:
    """An objective of one parameter, for which each epoch is one exact gradient step."""

    is_sparse, is_numpy = False, True
    l1 = l2 = 0.0
    penalty_columns = np.zeros(1), np.zeros(1)

    def __init__(self, noise=0.0):
        self.blocks, self._sign, self._noise = self, 1, noise

    def unpack(self, vector):
        return vector[None, :]

    def penalty(self, matrix):
        return 0.0

    def order(self, rng):
        return np.arange(1)

    def walk(self, order, step, carry):
        return step(self, carry, order)

    def batches(self, size, order):
        yield None, 1.0

    def block_loss_gradient(self, matrix, batch, weight):
        self._sign *= -1
        loss = 0.5 * float(np.sum(matrix**2)) + self._noise
        return loss, matrix + self._sign * self._noise


def run(objective, learning_rate, tol=1e-3):
    schedule = Schedule(learning_rate, 0.5, Momentum(0.0), 1, 1.0, tol, 3, False)
    state = Epoch.start(np.ones(1), 0.5, is_averaged=False)
    return list(sgd(objective, state, schedule, None))


def test_constant_rate_ends_when_the_loss_stalls():
    states = run(Quadratic(), "constant")
    assert states[-1].status == "converged"
    assert all(state.status == "running" for state in states[:-1])
    assert {state.rate for state in states} == {0.5}


def test_adaptive_rate_falls_when_the_loss_stalls():
    states = run(Quadratic(noise=0.1), "adaptive")
    rates = np.unique([state.rate for state in states])
    assert_allclose(rates[::-1], 0.5 / 5.0 ** np.arange(len(rates)))
    assert states[-1].status == "converged"
    assert rates[0] <= 0.5e-3


def test_proximal_point_minimises():
    """prox(u) is the least of |v - u|^2 / 2 + l1 |v| + l2 v^2 / 2."""
    u, l1, l2 = np.array([2.0, -0.3, 0.5]), np.array([0.5, 0.5, 0.0]), np.array([1.0, 1.0, 3.0])
    grid = np.linspace(-3, 3, 60_001)[:, None]
    values = 0.5 * (grid - u) ** 2 + l1 * np.abs(grid) + 0.5 * l2 * grid**2
    assert_allclose(proximal_point(u, l1, l2), grid[values.argmin(axis=0), 0], atol=1e-4)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_reaches_the_optimum(iris, l1_ratio):
    """In small steps on all rows, what SGD ends at is the optimum of the same objective."""
    X, y = iris
    options = {"l1_ratio": l1_ratio, "C": 0.3}
    best = SoftmaxRegressionClassifier(tol=1e-8, **options).fit(X, y)
    clf = SoftmaxRegressionClassifier(
        solver="sgd",
        batch_size=256,
        learning_rate="constant",
        average=False,
        n_iter_no_change=50,
        tol=1e-12,
        max_iter=100_000,
        **options,
    ).fit(X, y)
    assert_allclose(clf.loss_curve_[-1], best.loss_curve_[-1], rtol=1e-8)
    assert_allclose(clf.coef_, best.coef_, atol=1e-3)
    assert_array_equal(clf.coef_ == 0, best.coef_ == 0)


def test_raw_features_at_the_defaults(wine, cancer, digits):
    for X, y in (wine, cancer, digits):
        clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0).fit(X, y)
        assert clf.score(X, y) > 0.94


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_early_stopping_keeps_the_best(digits, solver):
    X, y = digits
    clf = SoftmaxRegressionClassifier(
        solver=solver, C=1e4, early_stopping=True, n_iter_no_change=3, random_state=0
    ).fit(X, y)
    curve = clf.validation_score_curve_
    assert len(curve) == len(clf.loss_curve_) == clf.n_iter_[0]
    assert np.argmax(curve) < len(curve) - 1
    from sklearn_softmax._targets import split_rows

    _, held_out = split_rows(y, None, 0.1, 0)
    log_proba = clf.predict_log_proba(X[held_out])
    assert_allclose(max(curve), log_proba[np.arange(len(held_out)), y[held_out]].mean())
    clf.set_params(early_stopping=False).fit(X, y)
    assert not hasattr(clf, "validation_score_curve_")


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_early_stopping_ignores_rows_without_weight(iris, solver):
    X, y = iris
    weight = np.where(np.arange(len(y)) % 3 == 0, 0.0, 2.0)
    keep = weight > 0
    options = {"solver": solver, "early_stopping": True, "random_state": 0}
    if solver == "sgd":
        options["shuffle"] = False
    clf = SoftmaxRegressionClassifier(**options).fit(X, y, weight)
    expected = SoftmaxRegressionClassifier(**options).fit(X[keep], y[keep], weight[keep])
    assert_allclose(clf.validation_score_curve_, expected.validation_score_curve_, rtol=1e-9)
    assert_allclose(clf.coef_, expected.coef_, rtol=1e-7)


def test_split_is_stratified_where_it_can_be():
    from sklearn_softmax._targets import split_rows

    y = np.repeat([0, 1, 2], [50, 30, 20])
    train, held_out = split_rows(y, None, 0.2, 0)
    assert_array_equal(np.bincount(y[held_out]), [10, 6, 4])
    assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(100))
    train, held_out = split_rows(np.append(y, 3), None, 0.2, 0)  # one row cannot be split
    assert len(held_out) == 21


@quiet
@pytest.mark.parametrize("sparse", [False, True])
def test_average_gives_later_iterates_more_weight(digits, sparse):
    """Iterate t of n has the weight of t (t + 1) ... (t + 7): that of polynomial decay."""
    X, y = digits
    X, y = (sp.csr_array(X[:500]) if sparse else X[:500]), y[:500]
    options = {**TEXTBOOK, "batch_size": 100}
    iterates = []
    for n_steps in range(1, 6):
        rows = slice(100 * n_steps)
        clf = SoftmaxRegressionClassifier(**options, max_iter=1).fit(X[rows], y[rows])
        iterates.append(clf.coef_)
    weights = [float(np.prod(np.arange(t, t + 8))) for t in range(1, 6)]
    averaged = SoftmaxRegressionClassifier(**options, max_iter=1, average=True).fit(X, y)
    assert_allclose(averaged.coef_, np.average(iterates, axis=0, weights=weights), atol=1e-12)


@quiet
@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"average": True}, {"warmup_steps": 7}])
@pytest.mark.parametrize("chunk", [128, 640])
def test_a_stream_gives_the_model_of_fit(digits, options, chunk):
    """Where batches fall the same; without a penalty, which grows with the rows seen."""
    X, y = digits
    X, y = X[:1280], y[:1280]
    options = {**TEXTBOOK, "batch_size": 64, "learning_rate": "invscaling", **options}
    whole = SoftmaxRegressionClassifier(**options, max_iter=1).fit(X, y)
    stream = SoftmaxRegressionClassifier(**options)
    for start in range(0, len(X), chunk):
        rows = slice(start, start + chunk)
        stream.partial_fit(X[rows], y[rows], classes=np.arange(10))
    assert_array_equal(stream.coef_, whole.coef_)
    assert_array_equal(stream.intercept_, whole.intercept_)


@quiet
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("chunk", [8192, 10240])
def test_a_stream_gives_the_model_of_fit_with_auto(sparse, chunk):
    """The first 8,192 rows show scales and rates; no chunk here ends within them or a batch."""
    X, y = make_classification(20480, 20, n_informative=8, n_classes=4, random_state=0)
    X[8192:] *= 1.25 if sparse else 2.0  # (more, and a chunk is taken back and its rate lowered)
    X = sp.csr_array(X * (X > 0)) if sparse else X
    options = {"solver": "sgd", "C": np.inf, "shuffle": False, "random_state": 0}
    options["batch_size"] = 256  # ("auto" makes smaller ones of a stream)
    whole = SoftmaxRegressionClassifier(**options, max_iter=1).fit(X, y)
    stream = SoftmaxRegressionClassifier(**options)
    for start in range(0, len(y), chunk):
        rows = slice(start, start + chunk)
        stream.partial_fit(X[rows], y[rows], classes=np.arange(4))
    # (Lazy averages of sparse rows are settled at the end of each chunk.)
    tolerance = 1e-13 if sparse else 0.0
    assert_allclose(stream.coef_, whole.coef_, rtol=0, atol=tolerance)
    assert_allclose(stream.intercept_, whole.intercept_, rtol=0, atol=tolerance)


@pytest.mark.parametrize("sparse", [False, True])
@given(scales=npst.arrays(float, 13, elements=st.floats(-6, 6)))
@settings(max_examples=15, deadline=None)
def test_auto_does_not_see_the_scales_of_columns(sparse, scales):
    """Without a penalty, whose meaning depends on them."""
    X, y = load_wine(return_X_y=True)
    scaled = X * 10.0**scales
    options = {"solver": "sgd", "C": np.inf, "random_state": 0, "max_iter": 3, "tol": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = SoftmaxRegressionClassifier(**options)
        clf = clone(expected)
        make = sp.csr_array if sparse else np.asarray
        expected.fit(make(X), y)
        clf.fit(make(scaled), y)
    assert_allclose(clf.predict_proba(make(scaled)), expected.predict_proba(make(X)), atol=1e-6)


@quiet
def test_auto_undoes_correlations(digits):
    """Twenty epochs do for columns that are nearly the same, and of very different scales."""
    X, y = digits
    rng = np.random.default_rng(0)
    X = np.hstack([X, 1000 * (X + 0.01 * rng.standard_normal(X.shape))])
    best = SoftmaxRegressionClassifier(C=0.1).fit(X, y)
    options = {"solver": "sgd", "C": 0.1, "random_state": 0, "max_iter": 20}
    clf = SoftmaxRegressionClassifier(**options).fit(X, y)
    losses = [log_loss(y, model.predict_proba(X)) for model in (clf, best)]
    assert losses[0] < losses[1] + 0.05


@quiet
def test_auto_lowers_a_rate_that_is_too_large(wine, monkeypatch):
    X, y = wine
    monkeypatch.setattr(_sgd_fit, "stable_rate", lambda *args: 1e4)
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0).fit(X, y)
    assert clf.score(X, y) > 0.9


def test_cosine_takes_all_epochs(digits):
    X, y = digits
    options = {"solver": "sgd", "learning_rate": "cosine", "random_state": 0}
    clf = SoftmaxRegressionClassifier(**options, max_iter=12).fit(X, y)  # and does not warn
    assert clf.n_iter_[0] == 12
    assert clf.loss_curve_[-1] < 0.5 * clf.loss_curve_[0]
    assert clf.score(X, y) > 0.97


def test_a_stream_has_no_end_for_cosine(iris):
    clf = SoftmaxRegressionClassifier(learning_rate="cosine")
    with pytest.raises(ValueError, match="partial_fit does not support learning_rate='cosine'"):
        clf.partial_fit(*iris, classes=[0, 1, 2])


@quiet
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_are_those_of_pytorch(digits, momentum, nesterov, dtype):
    torch = pytest.importorskip("torch")
    X, y = digits
    X, y = X[:1792].astype(dtype), y[:1792]  # (batches that are all full)
    model = torch.nn.Linear(64, 10, dtype=getattr(torch, dtype))
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=momentum, nesterov=nesterov)
    curve = []
    for _ in range(3):
        losses = []
        for start in range(0, len(X), 256):
            rows = torch.from_numpy(X[start : start + 256])
            labels = torch.from_numpy(y[start : start + 256])
            loss = torch.nn.functional.cross_entropy(model(rows), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curve.append(np.mean(losses))
    options = {**TEXTBOOK, "learning_rate_init": 0.1, "momentum": momentum, "max_iter": 3}
    clf = SoftmaxRegressionClassifier(**options, nesterovs_momentum=nesterov).fit(X, y)
    tol = 1e-5 if dtype == "float32" else 1e-12
    assert_allclose(clf.loss_curve_, curve, rtol=tol)
    assert_allclose(clf.coef_, model.weight.detach().numpy(), atol=tol)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_streams_learn(digits, sparse, dtype):
    X, y = digits
    X = X.astype(dtype)
    X = sp.csr_array(X) if sparse else X
    clf = SoftmaxRegressionClassifier(random_state=0)
    for _ in range(5):
        for start in range(0, 1500, 300):
            rows = slice(start, start + 300)
            clf.partial_fit(X[rows], y[rows], classes=np.arange(10))
    assert clf.n_iter_[0] == len(clf.loss_curve_) == 25
    assert clf.coef_.dtype == dtype
    assert log_loss(y[:1500], clf.predict_proba(X[:1500])) < 0.2
    assert clf.score(X[1500:], y[1500:]) > 0.85


def test_streams_of_distributions(iris):
    X, y = iris
    clf = SoftmaxRegressionClassifier(random_state=0)
    for _ in range(50):
        clf.partial_fit(X, np.eye(3)[y], classes=["a", "b", "c"])
    assert_array_equal(clf.classes_, ["a", "b", "c"])
    assert clf.score(X, np.array(["a", "b", "c"])[y]) > 0.9


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_partial_fit_goes_on_from_fit(wine, solver):
    X, y = wine
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0).fit(X, y)
    before = clf.score(X, y), len(clf.loss_curve_)
    clf.partial_fit(X, y)
    assert clf.score(X, y) >= before[0] - 0.02
    assert clf.loss_curve_[-1] < 2 * clf.loss_curve_[-2] + 0.05
    assert len(clf.loss_curve_) == before[1] + 1


def test_a_chunk_without_rows_of_some_classes(iris):
    X, y = iris
    clf = SoftmaxRegressionClassifier(random_state=0)
    for k in range(3):
        clf.partial_fit(X[y == k], y[y == k], classes=[0, 1, 2])
    assert clf.predict_proba(X).shape == (150, 3)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_warm_start(digits, solver):
    X, y = digits
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0, warm_start=True).fit(X, y)
    cold, curve = clf.n_iter_[0], clf.loss_curve_
    clf.fit(X, y)
    assert clf.n_iter_[0] <= cold
    if clf.loss_curve_:  # it may be at the optimum already
        assert clf.loss_curve_[0] < curve[0]


def test_random_state_decides_the_batches(digits):
    X, y = digits
    coefs = [
        SoftmaxRegressionClassifier(solver="sgd", random_state=seed).fit(X, y).coef_
        for seed in (0, 0, 1)
    ]
    assert_array_equal(coefs[0], coefs[1])
    assert (coefs[0] != coefs[2]).any()


@pytest.mark.parametrize(
    ("params", "advice"),
    [
        ({"learning_rate_init": 1e-8}, "Raise learning_rate_init"),
        ({"warmup_steps": 10**12}, "Lower warmup_steps"),
        ({"learning_rate_init": 1e-8, "l1_ratio": 0.5}, "Raise learning_rate_init"),
    ],
)
@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_fit_that_has_learned_nothing_says_so(wine, params, advice, is_sparse):
    X, y = wine
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0, **params)
    with pytest.warns(ConvergenceWarning, match=f"learned next to nothing.*{advice}"):
        clf.fit(sp.csr_array(X) if is_sparse else X, y)


@pytest.mark.parametrize(("C", "l1_ratio"), [(1.0, 0.0), (1e-6, 0.0), (1e-3, 1.0)])
def test_where_there_is_nothing_to_learn_nothing_is_said(rng, C, l1_ratio):
    X, y = rng.standard_normal((500, 3)), rng.integers(0, 3, 500)
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0, C=C, warm_start=True)
    clf.set_params(l1_ratio=l1_ratio)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.fit(X, y).fit(X, y)
