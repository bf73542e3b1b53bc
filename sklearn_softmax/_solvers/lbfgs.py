r"""L-BFGS from any initial inverse Hessian, and its orthant-wise form for L1 penalties.

One loop, written as a generator: it yields the state after every iteration, and whoever
drives it may look at it, report it, or stop. The docstring of :func:`lbfgs` says what the objective
and the curvature must offer.

Stopping. With H the current inverse Hessian and g the gradient, :math:`\tfrac12 g^\top H g` is
the decrease that the next step expects: an estimate of how far the loss is above its minimum,
whatever the scale of the features (the Newton decrement). The loop ends when
:math:`g^\top H g \le \mathrm{tol}^2 f`.

The estimate is that of one step. What the last steps have brought says how much more there may be
to come: each more than was expected of it, or each about as much as the one before. By that the
estimate is raised.

It is also no better than H, and an H that takes some parameters for flat, or for walls, would
end a fit wherever it stands. So the end is confirmed by something that does not rest on H: a bound
of the true decrement from below, a certificate, or steps that converge as Newton's do near a
minimum. If the bound denies it, or H is an exact Hessian that may have lost digits, H0 is replaced:
by a model that keeps more of them, and in the end by a bound of the curvature, from which steps are
short but lead down. If nothing confirms it, the estimate must be smaller before it counts.

It also ends when the loss has not fallen by more than its rounding unit for ten steps, or no step
lowers it; unless the estimate is then of the size of rounding errors, the status says so. Where
the loss has no minimum but tends to 0 (separable classes without a penalty), f would
follow it for ever; so f counts as at least a ten-thousandth of what it is without a model, where
all classes are equally probable.
"""

import collections
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.portable import all_finite, namespace, zeros
from . import quadratic
from .history import RESOLUTION, History

# A step must bring this share of the decrease that the slope promises ...
_DECREASE = 1e-4
# ... or, where rounding hides the decrease, halve the slope.
_LEVEL = 0.5
# Rounding in sums over many rows, relative to the loss, is at most this in float64.
_SLACK = 1e-9
# A trial step with a slope still this steep, relative to the start, is too short.
_STEEP = 0.9
_MAX_TRIALS = 30
# A tolerance that lower precision is good for; and the loss, relative to that of equally probable
# classes, below which rounding errors may be as large as it.
_ROUGH, _LEAST_ROUGH_LOSS = 1e-3, 1e-2
# After so many steps without a decrease that rounding would show, the loss is at its minimum.
_PATIENCE = 10
# A step that lowers the loss by so many times ``tol`` is not the last but one: the next one of
# Newton's expects about the square of that.
_FAR = 10.0
# A loss this small, relative to the same, counts as no smaller.
NEGLIGIBLE = 1e-4
# So many steps are remembered for what they brought beside what was expected of them; a step along
# which the curvature falls may bring more by the second number.
_REMEMBERED, _USUAL_RATIO = 6, 2.0
# Near the minimum a step of Newton's brings what it is expected to, but for this, and the next one
# no more than that share of it.
_QUADRATIC_RATIO, _QUADRATIC_SHARE = 1.2, 0.2
# And the probabilities are what they are but for the exponential of that, which moves the logits.
_SMALL_CHANGE = 0.1
# Steps of which each brings more than this share of what the one before brought count as if it
# were this.
_SLOWEST = 0.999
# Without a certificate the estimate of a model that is not exact must be so much smaller. A gap of
# so many times the square of ``tol`` is one.
_CAUTION_OF_MODELS, _CERTIFIED = 1e-2, 10.0
# That of an exact Hessian must be so much smaller; and where it is smaller by the second number, a
# gap that the loss hardly shows will do.
_CAUTION, _HALF_WAY = 1e-3, 0.5
# Where the estimated error is no more than so many rounding units of the loss, there is no more
# to be had.
_ROUNDING = 4.0
# The loss shows the square of an error down to its rounding unit. So a gap, which falls like the
# error, may miss by so many roots of that, but by no more than the second number.
_ROUNDING_OF_GAP, _LARGEST_VISIBLE = 256.0, 1e-3


@dataclass
class Iterate:
    """The state of the solver after an iteration.

    Attributes
    ----------
    vector : ndarray
        The parameters.
    loss : float
        The objective there, penalties included.
    n_iter : int
        Iterations so far.
    n_evaluations : int
        Evaluations of loss and gradient so far.
    decrement : float
        Estimate of how far ``loss`` is above its minimum.
    status : {"running", "converged", "precision"}
        "precision" where rounding errors forbid further progress.
    gradient : ndarray or None
        That of the smooth part of the objective, once the fit has ended.
    gap : float or None
        Bound of how far ``loss`` is above its minimum, where it has been asked for.
    """

    vector: np.ndarray
    loss: float
    n_iter: int = 0
    n_evaluations: int = 1
    decrement: float = np.inf
    status: str = "running"
    gradient: Any = None
    gap: float | None = None


def lbfgs(
    objective,
    curvature,
    vector,
    *,
    tol,
    l1_weights=None,
    n_iter=0,
    rough=None,
    certificate=None,
    certificate_order=2,
):
    r"""Minimise a convex objective, plus :math:`\sum_j \lambda_j |v_j|` if asked to.

    With an L1 penalty this is orthant-wise L-BFGS [3]_ on the parameters that are not at rest
    at zero: they form a smooth problem within the orthant that the pseudo-gradient points
    into, and the curvature is restricted to them (a two-metric projection [4]_). Trial points
    are projected onto the orthant, so parameters become exactly zero.

    Parameters
    ----------
    objective : object
        ``objective.loss_gradient(vector)`` returns a float and an ndarray;
        ``objective.epsilon`` is the rounding unit that they are computed with, and
        ``objective.uniform_loss`` what the loss is without a model;
        ``objective.largest_change(step)`` is how far a step moves the logits of a row, at most.
    curvature : object
        ``curvature.update(vector, n_evaluations, n_left)`` may renew H0 before a step, if
        ``curvature.is_due(n_evaluations)``, and returns whether it has, where ``n_left``
        evaluations seem to be left without it; ``curvature.is_cheap`` tells that it then has;
        ``curvature.replaces_steps`` tells that H0 has become so good that the steps before are
        better forgotten; ``curvature.step_memory`` is the number of steps to remember, and the
        dtype to round them to; ``curvature.solve(gradient, free)`` multiplies by H0, symmetric
        and positive definite, restricted to the parameters of the mask ``free`` (None: all).
        ``curvature.is_nearly_singular`` says that H0 may have lost digits, and
        ``curvature.can_have_root`` that there is another which keeps them;
        ``curvature.least_decrement(gradient)`` bounds :math:`g^\top H g` from below without a
        model; ``curvature.distrust(vector)`` puts another in place of H0, a bound of the
        curvature in the end (``curvature.is_bound``), and returns whether it has.
    vector : ndarray
        Where to start.
    tol : float
        When to stop: see the module's documentation.
    l1_weights : ndarray or None, default=None
        The :math:`\lambda`, in the shape of ``vector``.
    n_iter : int, default=0
        How many iterations went before.
    rough : object or None, default=None
        The same objective in lower precision, which is evaluated as long as it does.
    certificate : callable or None, default=None
        ``certificate(vector, loss=, gradient=)``, of the whole objective and the gradient of its
        smooth part, bounds how far the objective is above its minimum. With an L1 penalty, or a
        bound for H0, the loop ends when that is small, too.
    certificate_order : {1, 2}, default=2
        Whether it falls like the distance from the optimum, or like its square. It must be no
        more than ``tol`` to that power times the objective.

    Yields
    ------
    Iterate
        First for the start itself, then after each iteration. Only the last one's status is
        not "running".

    References
    ----------
    .. [1] J. Nocedal, S. Wright, "Numerical Optimization" (2006), algorithm 7.4.
    .. [2] W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent and an
       efficient line search", SIAM J. Optim. 16 (2005): approximate Wolfe conditions.
    .. [3] G. Andrew, J. Gao, "Scalable training of L1-regularized log-linear models",
       ICML (2007).
    .. [4] M. Schmidt, "Graphical model structure learning with L1-regularization", PhD thesis
       (2010), section 2.3.
    """
    exact = _Smooth(objective) if l1_weights is None else _Orthantwise(objective, l1_weights)
    problem: Any = exact if rough is None else _Rough(rough)
    loss, gradient = problem.evaluate(vector)
    if not (np.isfinite(loss) and all_finite(gradient)):
        raise ValueError(
            "The loss or its gradient is not finite at the start of the fit: X, or the "
            "coefficients of a warm start, hold values too large for their dtype. Scale them."
        )
    state = Iterate(vector, loss, n_iter)
    enough, negligible = max(tol**2, RESOLUTION), NEGLIGIBLE * objective.uniform_loss
    history, n_stalled, is_new, is_far = History(*curvature.step_memory), 0, True, False
    experience, has_l1 = _Experience(), l1_weights is not None
    confirm = _Confirmation(
        objective, curvature, tol, certificate, certificate_order, has_l1=has_l1
    )
    curvature.update(vector, 0)
    while True:
        scale = max(abs(state.loss), negligible)
        threshold = enough * scale
        history, steepest, step = _next_step(
            problem, state, gradient, history, curvature, threshold, is_far, experience
        )
        slope = float(steepest @ step)
        if problem is not exact and (
            n_stalled >= _PATIENCE or problem.is_spent(state, -slope, tol)
        ):
            problem, n_stalled = exact, 0
            state.loss, gradient = problem.evaluate(state.vector)
            state.n_evaluations += 1
            continue
        state.decrement = -0.5 * slope
        found, expected = None, -slope * experience.outlook(state.decrement)
        if expected > threshold and n_stalled < _PATIENCE:
            if is_new:
                yield state
            is_new = False
            found = problem.search(state, steepest, step, slope)
            state.n_evaluations += found.n_trials
            if found.vector is None and problem is not exact:  # once more, exactly
                n_stalled = _PATIENCE
                continue
        if found is None or found.vector is None:
            is_certain, is_open = False, False
            if slope <= 0:
                is_certain, is_open = confirm(
                    state,
                    gradient,
                    steepest,
                    expected,
                    scale,
                    enough,
                    step if experience.is_settled(state.decrement) else None,
                )
            if is_open and found is None:
                enough, n_stalled = max(0.1 * enough, RESOLUTION), 0
                continue
            # An H0 that is wrong ends a fit too early, or leads nowhere.
            if not (is_certain and found is None) and curvature.distrust(state.vector):
                history, n_stalled = History(*curvature.step_memory), 0
                continue
            rounding = _ROUNDING * objective.epsilon * scale
            is_converged = is_certain and expected <= max(threshold, rounding)
            state.status = "converged" if is_converged else "precision"
            state.gradient = gradient
            yield state
            return
        decrease = state.loss - found.loss
        is_visible = decrease > _ROUNDING * problem.epsilon * abs(state.loss)
        experience.add(decrease if is_visible else 0.0, state.decrement)
        n_stalled = 0 if decrease > problem.epsilon * abs(state.loss) else n_stalled + 1
        is_far = decrease > _FAR * np.sqrt(enough) * abs(found.loss)
        n_evaluations = state.n_evaluations
        is_replaced = curvature.replaces_steps and curvature.is_cheap
        if is_replaced and curvature.is_due(n_evaluations - 1):
            history = History(*curvature.step_memory)
        else:
            history.append(state.vector, found.vector, gradient, found.gradient)
        gradient, is_new = found.gradient, True
        state = Iterate(found.vector, found.loss, state.n_iter + 1, n_evaluations)


class _Experience:
    """What the last steps say of the way that is left, beyond the next step.

    Where rows of all sizes are, the curvature is another a short way on, and what a step expects
    says little of what lies beyond it. And where steps lead along a valley, each of them brings
    little, and about as much as the one before.
    """

    def __init__(self):
        self._ratios: Any = collections.deque(maxlen=_REMEMBERED)
        self._decreases: Any = collections.deque(maxlen=_REMEMBERED)

    def add(self, decrease, expected):
        """Take note of a step."""
        self._ratios.append(decrease / expected if expected > 0 else 0.0)
        self._decreases.append(decrease)

    def outlook(self, expected):
        """Return what to multiply an estimate by for that of all steps to come.

        1 if the last ones were about right, and each has brought much less than the one before.
        """
        shortfall = self._shortfall
        return shortfall / (1.0 - min(self._share(shortfall * expected), _SLOWEST))

    def steps_left(self, expected, threshold):
        """Return about how many steps there are until one expects no more than ``threshold``."""
        expected = self._shortfall * expected
        if len(self._decreases) < 2 or not expected > threshold > 0:
            return np.inf
        share = min(self._share(expected), _SLOWEST)
        return np.log(threshold / expected) / np.log(share) if share > 0 else 1.0

    @property
    def _shortfall(self):
        return max(1.0, max(self._ratios, default=0.0) / _USUAL_RATIO)

    def _share(self, expected):
        """Return what share of its decrease each step leaves for the next one, at worst."""
        return max(
            (
                (max(expected, 0.0) / first) ** (1.0 / n_steps)
                for n_steps, first in enumerate(reversed(self._decreases), 1)
                if n_steps > 1 and first > 0
            ),
            default=0.0,
        )

    def is_settled(self, expected):
        """Return whether the last step brought what it should, and the next brings far less."""
        if not self._decreases:
            return expected == 0
        is_as_expected = self._ratios[-1] <= _QUADRATIC_RATIO
        return is_as_expected and expected <= _QUADRATIC_SHARE * self._decreases[-1]


class _Confirmation:
    """Says whether what does not rest on H0 agrees that a fit has ended.

    Parameters are those of :func:`lbfgs`; ``has_l1`` says whether there is an L1 penalty.
    """

    def __init__(self, objective, curvature, tol, certificate, order, *, has_l1):
        self._objective, self._curvature = objective, curvature
        self._tol, self._relative = tol, tol**order
        self._certificate = certificate
        self._least_gap = least_gap(tol, objective.epsilon)
        self._has_l1 = has_l1

    def __call__(self, state, gradient, steepest, expected, scale, enough, settled_step):
        """Return whether a fit may end, and whether a smaller estimate may tell better.

        A step expects a decrease of half of ``expected`` there, and ``enough`` is how small that
        had to be, relative to the loss, or to what counts for it (``scale``). ``settled_step`` is
        the next step where Newton's converge as they do near a minimum, and otherwise None.
        """
        if self._has_l1:
            # Where the loss shows no more, rounding errors are as large in the gap as they may be.
            is_last = expected <= RESOLUTION * scale
            largest = self._least_gap if is_last else self._relative
            is_certain = self._gap(state, gradient) <= largest * scale
            return is_certain, not is_certain and enough > RESOLUTION
        if 0.0 <= state.loss <= self._tol**2 * scale:  # which no minimum is below
            return True, False
        if self._curvature.is_bound:
            # What a bound expects is too little whatever it is.
            is_certain = self._gap(state, gradient) <= self._tol**2 * scale
            return is_certain, bool(not is_certain and enough > RESOLUTION)
        if self._curvature.least_decrement(steepest) > max(expected, enough * scale):
            return False, False
        is_exact = self._curvature.replaces_steps
        if self._certificate is None or (
            is_exact
            and not self._curvature.is_nearly_singular
            and settled_step is not None
            and self._objective.largest_change(settled_step) <= _SMALL_CHANGE
        ):
            return True, False
        # Where nothing certifies the end, an estimate must be smaller: that of a model that is not
        # exact may be a hundredth of the error, and steps of Newton's are cheap.
        largest, caution = _CERTIFIED * self._tol**2, _CAUTION_OF_MODELS
        if is_exact:
            if enough < _HALF_WAY * self._tol**2:
                largest = _LARGEST_VISIBLE
            caution = _CAUTION
        if self._gap(state, gradient) <= largest * scale:
            return True, False
        if is_exact and self._curvature.is_nearly_singular and self._curvature.can_have_root:
            return False, False
        return True, enough > max(caution * self._tol**2, RESOLUTION)

    def _gap(self, state, gradient):
        if self._certificate is None:
            return np.inf
        if state.gap is None:
            state.gap = self._certificate(state.vector, loss=state.loss, gradient=gradient)
        return state.gap


def least_gap(tol, epsilon):
    """Return the gap, relative to the loss, that is allowed where the loss shows no more."""
    return max(tol, min(_ROUNDING_OF_GAP * np.sqrt(epsilon), _LARGEST_VISIBLE))


def _next_step(problem, state, gradient, history, curvature, threshold, is_far, experience):
    """Return the history to go on with, the direction of steepest descent, and the step to take.

    H0 is renewed first if that is due, unless the step is the last one: at the end it would come
    too late to be of use.
    """
    n_evaluations, is_renewed = state.n_evaluations - 1, False
    if is_far and curvature.replaces_steps:
        is_renewed = curvature.update(state.vector, n_evaluations)
    if not is_renewed:
        steepest, step = problem.direction(state.vector, gradient, history, curvature)
        slope = float(steepest @ step)
        n_left = experience.steps_left(-0.5 * slope, 0.5 * threshold)
        is_renewed = -slope > threshold and curvature.update(state.vector, n_evaluations, n_left)
        # (Among differences of gradients that are all rounding, H may lose its sign.)
        if not is_renewed and slope <= 0:
            return history, steepest, step
    if curvature.replaces_steps or not is_renewed:
        history = History(*curvature.step_memory)
    return history, *problem.direction(state.vector, gradient, history, curvature)


@dataclass
class _Found:
    """What a line search found; ``vector`` is None where it found nothing."""

    n_trials: int
    vector: np.ndarray | None = None
    loss: float = np.nan
    gradient: np.ndarray | None = None


class _Smooth:
    """A convex objective with a gradient everywhere."""

    def __init__(self, objective):
        self._objective = objective
        self.epsilon = objective.epsilon
        self.evaluate = objective.loss_gradient

    def direction(self, vector, gradient, history, curvature):
        """Return the gradient, and the step to take."""
        return gradient, -history.solve(gradient, curvature, None)

    def search(self, state, steepest, step, slope):
        """Search along ``step`` for a point that is low enough and not too close.

        The objective is convex: its slope along the step never falls, so a trial is known to
        be short of the minimum where the slope there is negative. That stays true where the
        loss no longer shows the difference for rounding; there the slope decides.
        """
        rounding = _slack(self._objective, state)
        low, low_loss, low_slope = 0.0, state.loss, slope
        length, farthest, best = 1.0, np.inf, None
        for n_trials in range(1, _MAX_TRIALS + 1):
            vector = state.vector + float(length) * step
            loss, gradient = self.evaluate(vector)
            new_slope = float(gradient @ step)
            if not (np.isfinite(loss) and np.isfinite(new_slope)):
                farthest, length = length, 0.9 * low + 0.1 * length
                continue
            decreased = loss <= state.loss + _DECREASE * length * slope
            level = loss <= state.loss + rounding and abs(new_slope) <= -_LEVEL * slope
            if decreased or level:
                best = _Found(n_trials, vector, loss, gradient)
                if new_slope >= _STEEP * slope:
                    return best
                # Still descending as at the start: go further.
                if farthest < np.inf:
                    low, low_loss, low_slope = length, loss, new_slope
                    length = float(np.sqrt(low * farthest))
                    continue
                bend = new_slope - low_slope
                growth = -new_slope / bend if bend > 0 else np.inf
                low, low_loss, low_slope, reach = length, loss, new_slope, length - low
                length += reach * min(max(growth, 2.0), 10.0)
            elif best is not None:
                best.n_trials = n_trials
                return best
            else:
                farthest = length
                length = _cubic_minimum(low, low_loss, low_slope, length, loss, new_slope)
        return _Found(_MAX_TRIALS) if best is None else best


class _Rough(_Smooth):
    """The same in lower precision, until what it cannot show matters."""

    def __init__(self, objective):
        super().__init__(objective)
        self._least_loss = _LEAST_ROUGH_LOSS * objective.uniform_loss

    def is_spent(self, state, expected, tol):
        """Return whether the decrease that a step expects, or the loss, is too little for it."""
        loss = abs(state.loss)
        return expected <= max(_ROUGH, tol) ** 2 * loss or loss <= self._least_loss


class _Orthantwise:
    """A convex objective with a gradient, plus weighted absolute values."""

    def __init__(self, objective, l1_weights):
        self._objective = objective
        self.epsilon = objective.epsilon
        self._l1_weights = l1_weights

    def evaluate(self, vector):
        """Return the whole objective, and the gradient of its smooth part."""
        loss, gradient = self._objective.loss_gradient(vector)
        return loss + float(self._l1_weights @ namespace(vector).abs(vector)), gradient

    def direction(self, vector, gradient, history, curvature):
        """Return the pseudo-gradient, and the step to take.

        A parameter that a step of its own would bring to zero, or beyond, is set to zero and
        left out of the step of the others. If they all shared one, the projection of a few
        that are close to zero could turn descent into ascent (Bertsekas, "Projected Newton
        methods for optimization problems with simple constraints", 1982).
        """
        xp, zero = namespace(vector), zeros(vector.shape, vector)
        steepest = quadratic.steepest(vector, gradient, self._l1_weights)
        self._orthant = xp.where(vector != 0, xp.sign(vector), -xp.sign(steepest))

        movable = (vector != 0) | (steepest != 0)
        own_step = curvature.solve(steepest, movable)
        bound = (vector != 0) & (own_step * self._orthant >= xp.abs(vector))
        step = -history.solve(xp.where(bound, zero, steepest), curvature, movable & ~bound)
        step = xp.where(bound, -vector, step)
        step = xp.where((vector == 0) & (step * self._orthant < 0), zero, step)
        return steepest, step

    def search(self, state, steepest, step, slope):
        """Halve the step until its projection onto the orthant is low enough."""
        rounding = _slack(self._objective, state)
        length = 1.0
        for n_trials in range(1, _MAX_TRIALS + 1):
            vector = state.vector + float(length) * step
            inside = vector * self._orthant >= 0
            vector = namespace(vector).where(inside, vector, zeros(vector.shape, vector))
            loss, gradient = self.evaluate(vector)
            promised = float(steepest @ (vector - state.vector))
            decreased = loss <= state.loss + _DECREASE * promised
            level = abs(loss - state.loss) <= rounding and promised < 0
            if decreased or level:
                return _Found(n_trials, vector, loss, gradient)
            length *= 0.5 if np.isfinite(loss) else 0.1
        return _Found(_MAX_TRIALS)


def _slack(objective, state):
    """Return how much of a loss may be rounding error."""
    return max(_SLACK, 4 * objective.epsilon) * abs(state.loss)


def _cubic_minimum(low, low_loss, low_slope, high, high_loss, high_slope):
    """Return the minimum of the cubic through losses and slopes at two points [1]_.

    References
    ----------
    .. [1] Nocedal & Wright (2006), equation (3.59).
    """
    width = high - low
    bend = low_slope + high_slope + 3 * (low_loss - high_loss) / width
    root = np.sqrt(max(bend * bend - low_slope * high_slope, 0.0))
    share = (root + bend - low_slope) / (2 * root + high_slope - low_slope)
    if not np.isfinite(share):
        share = 0.5
    return low + width * min(max(share, 0.1), 0.9)
