"""Fits of hard problems, judged by one rule.

A fit by L-BFGS passes if its objective f, for each unit of weight, is close to the minimum f*,

    f - f* <= FACTOR * max(tol**2, eps) * max(f*, 1e-4 * log(n_classes)) + rounding ,

or if it says that it may not be (a ``ConvergenceWarning``), or if it refuses values that are too
large for the dtype of X. ``eps`` is the rounding unit of that dtype. ``rounding`` is what it costs,
at the minimum, to publish coefficients in that dtype; no more than a thousandth of f* may be lost
to that without a warning.

FACTOR is one number for all. The documentation of ``tol`` promises "within about tol**2 / 2 of the
minimum, relatively", by an estimate of the distance: 10 leaves that estimate a factor of 20, in
the objective, and 4.5 in a distance along a direction.

What fails, fails against a point that is better: whatever the reference lacks, it cannot fail a
fit that is at the minimum. What passes is certified where a lower bound of the minimum says so.

Whatever it says, a fit must not end in attributes or predictions that are not finite, change the
caller's arrays, raise another kind of error, or publish a ``duality_gap_`` that is less than its
distance from the minimum (by more than a FACTOR-th of what is allowed, for rounding).

A fit by SGD at its defaults is not owed a minimum. It must not end above the best model without
features, but for noise; and on plain problems it must have come most of the way to the minimum.
"""

import re
import warnings
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from sklearn_softmax import SoftmaxRegressionClassifier

from .reference import minimise, posed, rounding_unit

FACTOR = 10.0
# A loss this small, relative to that of equally probable classes, counts as no smaller.
NEGLIGIBLE = 1e-4
# The share of f* that may be lost, without a warning, to publishing in the dtype of X.
LARGEST_ROUNDING = 1e-3
# SGD: how far above the best model without features it may end, relative to the loss of equally
# probable classes; and what share of the way from there to the minimum it may leave, and what
# else, of a plain problem.
SGD_NOISE = 0.02
SGD_SHARE, SGD_REST = 0.2, 0.01

_TOO_FAR = "too far from the minimum"


@dataclass
class Fit:
    """What came of a call of ``fit``.

    Attributes
    ----------
    coef, intercept : ndarray or None
        None where it raised.
    n_iter : int
    duality_gap : float
        What the model publishes as a bound of its distance from the minimum; inf if nothing.
    convergence_warnings, other_warnings : list of str
    error : Exception or None
    has_changed_arrays : bool
        Whether the caller's arrays are other than before.
    has_finite_predictions : bool
        Whether all probabilities of rows that count are finite.
    """

    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None
    n_iter: int = -1
    duality_gap: float = np.inf
    convergence_warnings: list = field(default_factory=list)
    other_warnings: list = field(default_factory=list)
    error: Exception | None = None
    has_changed_arrays: bool = False
    has_finite_predictions: bool = True


@dataclass
class Verdict:
    """What the rule says of a fit.

    Attributes
    ----------
    fails : bool
    reason : str
        Of a failure what is wrong; otherwise why it passes: "certified", "unproven" (no better
        point is known, and no lower bound), "rounding" (as good as the minimum for an X that
        rounds the same), "warned", or "refused".
    loss, minimum, lower, allowed : float
        The objective, the lowest that is known, a lower bound of it, and by how much the first may
        exceed the second.
    needless : bool
        Whether a warning was given at what is certified to be the minimum, or (SGD) where the rule
        asked for none.
    """

    fails: bool
    reason: str
    loss: float = np.nan
    minimum: float = np.nan
    lower: float = np.nan
    allowed: float = np.nan
    needless: bool = False

    @property
    def ratio(self):
        """The distance from the minimum in units of what is allowed."""
        return (self.loss - self.minimum) / self.allowed

    def __str__(self):
        if np.isnan(self.loss):
            return self.reason
        return (
            f"{self.reason}: f={self.loss:.10g}, f*={self.minimum:.10g}, "
            f"{self.ratio:.3g} times what is allowed"
        )


def run(problem):
    """Fit an estimator to a problem; return what came of it, a :class:`Fit`."""
    estimator = SoftmaxRegressionClassifier(**problem.params)
    fit = Fit()
    if problem.start is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.set_params(max_iter=0).fit(problem.X, problem.y, problem.sample_weight)
        estimator.set_params(max_iter=1000)
        estimator.coef_, estimator.intercept_ = (part.copy() for part in problem.start)
    with watched(fit, problem.X, problem.y, problem.sample_weight):
        estimator.fit(problem.X, problem.y, problem.sample_weight)
        fit.coef, fit.intercept = estimator.coef_, estimator.intercept_
        fit.n_iter = int(estimator.n_iter_[0])
        fit.duality_gap = float(getattr(estimator, "duality_gap_", np.inf))
    if fit.error is None:
        _predict(problem, estimator, fit)
    return fit


def _predict(problem, estimator, fit):
    """Note whether predictions are finite, and leave X as it is."""
    prediction = Fit()  # (Fill values may overflow: warnings are of no interest.)
    with watched(prediction, problem.X):
        proba = estimator.predict_proba(problem.X)
        is_used = slice(None) if problem.sample_weight is None else problem.sample_weight > 0
        fit.has_finite_predictions = bool(np.isfinite(proba[is_used]).all())
    fit.has_changed_arrays = fit.has_changed_arrays or prediction.has_changed_arrays
    fit.error = prediction.error


class watched:
    """A context that tells a :class:`Fit` of warnings, of errors, and of changes of arrays."""

    def __init__(self, fit, *arrays):
        self._fit = fit
        self._arrays = arrays
        self._caught = warnings.catch_warnings(record=True)

    def __enter__(self):
        self._before = [fingerprint(array) for array in self._arrays]
        self._records = self._caught.__enter__()
        warnings.simplefilter("always")
        return self._fit

    def __exit__(self, kind, error, traceback):
        self._caught.__exit__(kind, error, traceback)
        fit = self._fit
        for record in self._records:
            is_convergence = issubclass(record.category, ConvergenceWarning)
            texts = fit.convergence_warnings if is_convergence else fit.other_warnings
            texts.append(f"{record.category.__name__}: {record.message}")
        after = [fingerprint(array) for array in self._arrays]
        fit.has_changed_arrays = fit.has_changed_arrays or after != self._before
        if isinstance(error, Exception):
            fit.error = error
            return True
        return False


def fingerprint(array):
    """Return all that a caller can see of an array: bytes, layout, type and flags."""
    if array is None:
        return None
    if sp.issparse(array):
        flags = bool(array.has_sorted_indices), bool(array.has_canonical_format)
        parts = [fingerprint(part) for part in (array.data, array.indices, array.indptr)]
        return type(array), array.shape, flags, parts
    return array.dtype, array.shape, array.strides, array.flags.writeable, array.tobytes()


def judge(problem, fit):
    """Return the :class:`Verdict` on a fit of a :class:`Problem`."""
    flaw = _flaw(problem, fit)
    if flaw is not None:
        return Verdict(True, flaw)
    if fit.error is not None:
        return Verdict(False, "refused")
    is_sgd = problem.params.get("solver") == "sgd"
    return (_judge_sgd if is_sgd else _judge_lbfgs)(problem, fit)


def _flaw(problem, fit):
    """Return what is wrong whatever the objective; None if nothing is."""
    if fit.has_changed_arrays:
        return "the caller's arrays have changed"
    if fit.error is not None:
        return None if is_clear(problem, fit.error) else f"{type(fit.error).__name__}: {fit.error}"
    if not (np.isfinite(fit.coef).all() and np.isfinite(fit.intercept).all()):
        return "coefficients are not finite"
    if not fit.has_finite_predictions:
        return "predictions are not finite"
    stray = [text for text in fit.other_warnings if text.startswith("RuntimeWarning")]
    return stray[0] if stray else None


def is_clear(problem, error):
    """Return whether an error says that X has too large values, and it has.

    No other error is due: all problems have finite values, classes, and a weight.
    """
    if not isinstance(error, ValueError) or not re.search(r"\bX\b.*too large", str(error)):
        return False
    X = problem.X.toarray() if sp.issparse(problem.X) else problem.X
    if problem.sample_weight is not None:
        X = X[problem.sample_weight > 0]
    with np.errstate(over="ignore"):
        return not np.isfinite((X * X).sum(axis=0)).all()


def allowance(problem, minimum, n_classes, rounding=0.0):
    """Return by how much an objective may exceed the minimum."""
    tol = problem.params.get("tol", 1e-4)
    size = max(minimum, NEGLIGIBLE * np.log(n_classes))
    relative = FACTOR * max(tol**2, rounding_unit(problem.X))
    return float(relative * size + min(rounding, LARGEST_ROUNDING * size))


def _judge_lbfgs(problem, fit):
    pose = posed(problem)
    verdict = _against_minimum(problem, fit, pose)
    if verdict.reason == _TOO_FAR:
        flat = pose.flattened()
        if flat is not None:
            other = _against_minimum(problem, fit, flat, pose)
            if not other.fails:
                other.reason = "rounding"
                verdict = other
    if fit.convergence_warnings and "duality_gap_" not in verdict.reason:
        verdict.needless = verdict.reason == "certified"
        verdict.fails, verdict.reason = False, "warned"
    return verdict


def _against_minimum(problem, fit, pose, evaluated_in=None):
    """Return the verdict by the minimum of ``pose``; the fit's own objective may be another's."""
    model = pose.model(fit.coef, fit.intercept)
    loss = (evaluated_in or pose).objective(model)
    n_classes = pose.n_classes

    def enough(minimum):
        return allowance(problem, minimum, n_classes)

    best, minimum, lower = _lowest(pose, model, enough)
    rounding = pose.rounding(best, rounding_unit(problem.X))
    allowed = allowance(problem, minimum, n_classes, rounding)
    fails = not loss - minimum <= allowed
    reason = _TOO_FAR
    if loss - minimum > fit.duality_gap + allowed / FACTOR:
        fails, reason = True, "farther from the minimum than duality_gap_ says"
    if not fails:
        reason = "certified" if loss - lower <= allowed else "unproven"
    return Verdict(fails, reason, *(float(x) for x in (loss, minimum, lower)), allowed)


def _lowest(pose, model, enough):
    """Return the best model that is known, its objective, and a lower bound of the minimum."""
    start = pose.without_features()
    starts = [start]
    if pose.objective(model) <= pose.objective(start):
        starts = [model, start]
    results = []
    for start in starts:
        best, loss, lower = minimise(pose, start, enough)
        results.append((loss, len(results), best, lower))
        if loss - lower <= 0.1 * enough(loss):
            break
    loss, _, best, _ = min(results)
    return best, loss, max(result[3] for result in results)


def _judge_sgd(problem, fit):
    pose = posed(problem)
    model = pose.model(fit.coef, fit.intercept)
    loss, bare = pose.objective(model), pose.objective(pose.without_features())
    noise = SGD_NOISE * np.log(pose.n_classes)
    if loss > bare + noise:
        verdict = Verdict(True, "worse than no model", float(loss), float(bare), allowed=noise)
    elif problem.is_plain:
        _, minimum, lower = _lowest(pose, model, lambda loss: 1e-4 * np.log(pose.n_classes))
        allowed = float(SGD_SHARE * (bare - minimum) + SGD_REST * np.log(pose.n_classes))
        fails = not loss - minimum <= allowed
        reason = "too far from the minimum of a plain problem" if fails else "close"
        verdict = Verdict(fails, reason, float(loss), float(minimum), float(lower), allowed)
    else:
        verdict = Verdict(False, "better than no model", float(loss), float(bare), allowed=noise)
    if fit.convergence_warnings:
        verdict.needless = not verdict.fails
        verdict.fails, verdict.reason = False, "warned"
    return verdict
