"""The line searches of L-BFGS: of a smooth objective, and along an orthant for L1 penalties."""

from dataclasses import dataclass

import numpy as np

from .._arrays.portable import namespace, zeros
from . import quadratic

# A step must bring this share of the decrease that the slope promises ...
_DECREASE = 1e-4
# ... or, where rounding hides the decrease, halve the slope.
_LEVEL = 0.5
# Rounding in sums over many rows, relative to the loss, is at most this in float64.
_SLACK = 1e-9
# A trial step with a slope still this steep, relative to the start, is too short.
_STEEP = 0.9
_MAX_TRIALS = 30
# The tolerance that lower precision can reach; and the loss, as a share of that of equally probable
# classes, below which its rounding errors may be as large as the loss.
_ROUGH, _LEAST_ROUGH_LOSS = 1e-3, 1e-2


@dataclass
class Found:
    """What a line search found; ``vector`` is None where it found nothing."""

    n_trials: int
    vector: np.ndarray | None = None
    loss: float = np.nan
    gradient: np.ndarray | None = None


class Smooth:
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
                best = Found(n_trials, vector, loss, gradient)
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
        return Found(_MAX_TRIALS) if best is None else best


class Rough(Smooth):
    """The same in lower precision, until what it cannot show matters."""

    def __init__(self, objective):
        super().__init__(objective)
        self._least_loss = _LEAST_ROUGH_LOSS * objective.uniform_loss

    def is_spent(self, state, expected, tol):
        """Return whether the decrease that a step expects, or the loss, is too little for it."""
        loss = abs(state.loss)
        return expected <= max(_ROUGH, tol) ** 2 * loss or loss <= self._least_loss


class Orthantwise:
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
                return Found(n_trials, vector, loss, gradient)
            length *= 0.5 if np.isfinite(loss) else 0.1
        return Found(_MAX_TRIALS)


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
