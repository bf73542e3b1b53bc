"""Hard problems, a fixed number of each kind; and tests of the judge itself.

Thousands: ``python -m tests.gauntlet --cases 5000 [--first SEED] [--solver sgd|stream]``.
"""

import warnings
from dataclasses import replace
from decimal import Decimal, localcontext

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from .gauntlet import judge as judging
from .gauntlet import streams as streaming
from .gauntlet.__main__ import judged
from .gauntlet.judge import Fit, judge, run, watched
from .gauntlet.problems import Problem, problem
from .gauntlet.reference import minimise, posed

# How many seeds of each are run here.
_LBFGS, _SGD, _STREAMS = 120, 50, 40


@pytest.mark.parametrize("seed", range(_LBFGS))
def test_lbfgs_is_at_the_minimum_or_says_so(seed):
    case, _, verdict = judged(seed, "lbfgs")
    assert not verdict.fails, f"{verdict}\n{case.description}"


# Seeds that were quietly far from the minimum, and what had ended them: steps that each brought
# about as much as the one before; a Hessian that had lost digits; a bound in place of it.
# A step that says little of what is left behind an outlier; and a gap of L1 that is small before
# the steps are. And coefficients that cancel each other, which float32 cannot hold.
_CRAWLING, _NEARLY_SINGULAR, _BOUND = [474, 50444], [2976, 294], [50146]
_OUTLIER, _L1, _CANCELLING = [60994], [2913, 2564], [70706]


@pytest.mark.parametrize(
    "seed", _CRAWLING + _NEARLY_SINGULAR + _BOUND + _OUTLIER + _L1 + _CANCELLING
)
def test_a_fit_that_was_ended_too_early(seed):
    case, _, verdict = judged(seed, "auto")
    assert not verdict.fails, f"{verdict}\n{case.description}"


@pytest.mark.parametrize("seed", range(_SGD))
def test_sgd_is_better_than_no_model_or_says_so(seed):
    case, _, verdict = judged(seed, "sgd")
    assert not verdict.fails, f"{verdict}\n{case.description}"


@pytest.mark.parametrize("seed", range(_STREAMS))
def test_no_chunk_makes_a_model_worse_or_it_says_so(seed):
    case, _, verdict = judged(seed, "stream")
    assert not verdict.fails, f"{verdict}\n{case.description}"


@pytest.mark.parametrize("seed", [50068, 50076, 50204])
def test_a_chunk_that_worsens_what_is_worse_than_no_model(seed):
    case, _, verdict = judged(seed, "stream")
    assert not verdict.fails, f"{verdict}\n{case.description}"


def test_few_plain_problems_are_warned_of():
    plain = [case for case in map(problem, range(400)) if case.is_plain]
    assert len(plain) >= 30
    assert sum(bool(run(case).convergence_warnings) for case in plain) == 0


# The judge ---------------------------------------------------------------------------------


def plain_problem(n_classes=3, **params):
    rng = np.random.default_rng(0)
    y = np.arange(90) % n_classes
    X = rng.standard_normal((90, 4)) + rng.standard_normal((n_classes, 4))[y]
    return Problem(0, X * [1.0, 1e-3, 1e3, 1.0] + [0.0, 0.0, 0.0, 1e4], y, None, params)


def fit_of(model, pose, **attributes):
    coef, intercept = pose.published(model)
    return Fit(coef.astype(float), intercept.astype(float), 10, **attributes)


def solved(case):
    """Return a problem's pose, the reference's model, its objective, and the lower bound."""
    pose = posed(case)
    return pose, *minimise(pose, pose.zero(), lambda loss: 1e-9 * float(loss))


PENALTIES = [
    {"C": 1.0},
    {"C": 1e-3, "fit_intercept": False},
    {"C": 1.0, "l1_ratio": 1.0},
    {"C": 0.1, "l1_ratio": 0.5},
    {"C": 10.0, "l1_ratio": 0.5, "fit_intercept": False, "class_weight": "balanced"},
    {"C": 1e3, "label_smoothing": 0.1},
]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("params", PENALTIES, ids=str)
def test_the_reference_is_certified_by_duality(params, n_classes):
    _, _, loss, lower = solved(plain_problem(n_classes, **params))
    # (At the optimum the two are the same number, each with rounding errors of its own.)
    assert lower * (1 - 1e-15) <= loss <= lower * (1 + 1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("params", [*PENALTIES, {"C": np.inf}], ids=str)
def test_the_objective_of_the_judge_is_that_of_the_definition(params, n_classes):
    case = plain_problem(n_classes, **params)
    pose, model, loss, _ = solved(case)
    coef, intercept = (part.astype(float) for part in pose.published(model))
    loss = pose.objective(pose.model(coef, intercept))
    with localcontext(prec=50):
        expected = exact_objective(case, coef, intercept)
        assert abs(Decimal(str(loss)) / expected - 1) < Decimal("1e-11")


def exact_objective(case, coef, intercept):
    """Return the objective of the user guide, divided by the sum of weights, in 50 digits."""
    if len(coef) == 1:
        coef, intercept = np.vstack([0 * coef, coef]), np.append(0.0, intercept)
    n_classes = len(coef)
    smoothing = Decimal(case.params.get("label_smoothing", 0.0))
    counts = np.bincount(case.y)
    is_balanced = case.params.get("class_weight") == "balanced"
    total = total_weight = Decimal(0)
    for x, label in zip(case.X.tolist(), case.y.tolist(), strict=True):
        logits = [
            sum(map(Decimal.__mul__, map(Decimal, w), map(Decimal, x)), Decimal(b))
            for w, b in zip(coef.tolist(), intercept.tolist(), strict=True)
        ]
        norm = sum(logit.exp() for logit in logits).ln()
        target = [smoothing / n_classes + (1 - smoothing) * (k == label) for k in range(n_classes)]
        loss = sum(t * (norm - logit) for t, logit in zip(target, logits, strict=True))
        weight = Decimal(1)
        if is_balanced:
            weight = Decimal(len(case.y)) / (n_classes * int(counts[label]))
        total += weight * loss
        total_weight += weight
    if np.isfinite(case.params["C"]):
        ratio = Decimal(case.params.get("l1_ratio", 0.0))
        for w in map(Decimal, coef.ravel().tolist()):
            penalty = (1 - ratio) / 2 * w * w + ratio * abs(w)
            total += penalty / Decimal(case.params["C"])
    return total / total_weight


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("params", [*PENALTIES, {"C": np.inf}], ids=str)
def test_the_minimum_passes_and_worse_models_fail(params, n_classes):
    case = plain_problem(n_classes, **params)
    pose, model, loss, _ = solved(case)
    assert not judge(case, fit_of(model, pose)).fails
    zeroed = judge(case, fit_of(pose.zero(), pose))
    assert zeroed.fails
    assert zeroed.reason == "too far from the minimum"
    assert zeroed.ratio > 1
    # A share of the way back to the start, which costs more than is allowed, but not much more.
    near = replace(model, coef=(1 - 0.003) * model.coef)
    verdict = judge(case, fit_of(near, pose))
    assert verdict.fails == (pose.objective(near) - loss > verdict.allowed)
    assert (
        judge(case, fit_of(pose.zero(), pose, convergence_warnings=["it says so"])).fails is False
    )


@pytest.mark.filterwarnings("ignore")
def test_fits_that_are_cut_off_fail_unless_they_warn():
    case = plain_problem(C=10.0, max_iter=2)
    fit = run(case)
    assert fit.convergence_warnings
    verdict = judge(case, fit)
    assert (verdict.fails, verdict.reason, verdict.needless) == (False, "warned", False)
    fit.convergence_warnings.clear()
    assert judge(case, fit).fails


def test_a_needless_warning_is_counted():
    case = plain_problem(C=1.0)
    pose, model, _, _ = solved(case)
    verdict = judge(case, fit_of(model, pose, convergence_warnings=["?"]))
    assert (verdict.fails, verdict.needless) == (False, True)


def test_what_is_wrong_whatever_the_objective():
    case = plain_problem(C=1.0)
    pose, model, _, _ = solved(case)
    good = fit_of(model, pose)
    warned = replace(good, convergence_warnings=["it says so"])
    assert judge(case, replace(warned, has_changed_arrays=True)).fails
    assert judge(case, replace(warned, coef=np.full_like(good.coef, np.nan))).fails
    assert judge(case, replace(warned, other_warnings=["RuntimeWarning: overflow"])).fails
    assert judge(case, Fit(error=ValueError("SGD has diverged"))).fails
    assert judge(case, Fit(error=TypeError("unhashable"))).fails
    # X that can be squared is not too large.
    assert judge(case, Fit(error=ValueError("X holds values too large to be squared"))).fails


def test_a_bound_that_does_not_hold_fails():
    case = plain_problem(C=1.0)
    pose, model, loss, _ = solved(case)
    near = replace(model, coef=(1 + 1e-2) * model.coef)
    distance = float(pose.objective(near) - loss)
    holds = fit_of(near, pose, convergence_warnings=["it says so"], duality_gap=1.1 * distance)
    assert not judge(case, holds).fails
    assert judge(case, replace(holds, duality_gap=0.1 * distance)).fails


def test_errors_for_too_large_values_are_clear():
    case = plain_problem(C=1.0)
    error = ValueError("X holds values too large to be squared in float64, in column 0.")
    large = replace(case, X=case.X * 1e200)
    assert judging.is_clear(large, error)
    weight = np.where(np.arange(90) < 3, 0.0, 1.0)
    hidden = replace(case, X=np.where(weight == 0, 1e3, 1.0)[:, None] ** 60 * case.X)
    assert judging.is_clear(hidden, error)
    assert not judging.is_clear(replace(hidden, sample_weight=weight), error)
    assert not judging.is_clear(large, RuntimeError(str(error)))


@pytest.mark.parametrize("container", [np.array, np.asfortranarray, sp.csr_array, sp.csc_array])
def test_changes_of_arrays_are_seen(container):
    X = container(np.eye(3))
    fit = Fit()
    with watched(fit, X):
        pass
    assert not fit.has_changed_arrays
    with watched(fit, X):
        (X.data if sp.issparse(X) else X)[:1] += 1e-15
    assert fit.has_changed_arrays


def test_rounding_of_x_excuses_what_it_made_and_nothing_else():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2)).astype(np.float32)
    y = rng.integers(2, size=60)
    # The third column is a sum of the others, but for rounding: a direction that C=inf would use.
    X = np.column_stack([x, x @ [0.1, 0.3]]).astype(np.float32)
    case = Problem(0, X, y, None, {"C": np.inf})
    pose, flat = posed(case), posed(case).flattened()
    assert np.linalg.matrix_rank(flat.table.astype(float), tol=1e-9) == 2
    model, loss, _ = minimise(flat, flat.zero(), lambda loss: 1e-12)
    assert minimise(pose, pose.zero(), lambda loss: 1e-12)[1] < loss - 1e-3
    verdict = judge(case, fit_of(model, flat))
    assert (verdict.fails, verdict.reason) == (False, "rounding")
    assert judge(case, fit_of(flat.zero(), flat)).fails
    assert posed(plain_problem(C=1.0)).flattened() is None


def test_a_seed_says_all():
    for solver in ("lbfgs", "sgd"):
        first, second = problem(3, solver), problem(3, solver)
        assert first.description == second.description
        assert judging.fingerprint(first.X) == judging.fingerprint(second.X)
        assert first.description != problem(4, solver).description


def test_the_problems_are_of_all_kinds():
    tags = frozenset().union(*(problem(seed).tags for seed in range(_LBFGS)))
    kinds = "tiny huge cancelled exactly_collinear nearly_collinear constant rank_deficient offset"
    kinds += " timestamp lognormal cauchy one_hot rare late separating duplicate zero_inflated"
    assert tags >= set(kinds.split())
    assert tags >= {"weights:fill", "weights:wild", "weights:zero", "class of one row", "L1"}
    assert tags >= {"repeated rows", "sorted by class", "elastic net", "warm start", "C=inf"}
    assert tags >= {"X:F", "X:float32", "X:integer", "X:csr", "X:csc", "X:csr float32"}


# The judge of streams ----------------------------------------------------------------------


class Scripted:
    """An estimator whose model after each chunk is written down."""

    def __init__(self, coefs, warns=False):
        self._coefs = iter(coefs)
        self._warns = warns

    def partial_fit(self, X, y, classes, sample_weight=None):
        self.coef_, self.intercept_ = np.array([[next(self._coefs)]]), np.zeros(1)
        if self._warns:
            warnings.warn("it says so", ConvergenceWarning, stacklevel=2)


def scripted_stream(monkeypatch, coefs, **script):
    """Return the verdict on a stream of one column, whose sign is the class but for noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=1000)
    X = (2.0 * y - 1.0 + rng.standard_normal(1000))[:, None]
    chunks = [streaming.Chunk(X[:50], y[:50], None, np.zeros(50, int)) for _ in coefs]
    case = streaming.Stream(0, chunks, [(X, y)], 2, {})
    monkeypatch.setattr(streaming, "SoftmaxRegressionClassifier", lambda: Scripted(coefs, **script))
    monkeypatch.setattr(streaming, "_in_one_chunk", lambda case: np.inf)
    return streaming.run_and_judge(case)[1]


@pytest.mark.parametrize(
    ("coefs", "reason"),
    [
        ([0.5, 1.0, 2.0, 1.9], "no worse after any chunk"),
        ([0.5, 1.0, -1.0], "worse after a chunk (chunk 3 of 50 rows)"),
        ([0.5, 2.0, 30.0], "worse after a chunk (chunk 3 of 50 rows)"),
        ([2.0, *np.linspace(2.0, 0.0, 30)], "worse than on the way"),
    ],
)
def test_models_that_a_stream_makes_worse_fail(monkeypatch, coefs, reason):
    verdict = scripted_stream(monkeypatch, coefs)
    assert (verdict.fails, verdict.reason) == (reason != "no worse after any chunk", reason)
    assert not scripted_stream(monkeypatch, coefs, warns=True).fails
