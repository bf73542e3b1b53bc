"""What L-BFGS asks before it ends: how much the steps seem to leave, and what confirms it.

The rules are in the documentation of :mod:`sklearn_softmax._solvers.lbfgs`.
"""

import collections
from typing import Any

import numpy as np

from .history import RESOLUTION

# A loss below this share of that of equally probable classes counts as that share.
NEGLIGIBLE = 1e-4
# So many steps are remembered for what they brought beside what was expected of them; a step along
# which the curvature falls may bring more by the second number.
_REMEMBERED, _USUAL_RATIO = 6, 2.0
# Near the minimum a step of Newton's brings what it is expected to, but for this, and the next one
# no more than that share of it.
_QUADRATIC_RATIO, _QUADRATIC_SHARE = 1.2, 0.2
# And it moves the logits of no row by more than this.
_SMALL_CHANGE = 0.1
# Steps of which each brings more than this share of what the one before brought count as if it
# were this.
_SLOWEST = 0.999
# Without a certificate the estimate of a model that is not exact must be so much smaller. A gap of
# so many times the square of ``tol`` is one.
_CAUTION_OF_MODELS, _CERTIFIED = 1e-2, 10.0
# With an exact Hessian the estimate must be smaller by the first factor. Once it is smaller by the
# second, a gap up to _LARGEST_VISIBLE will do.
_CAUTION, _HALF_WAY = 1e-3, 0.5
# The loss shows the square of an error down to its rounding unit. So a gap, which falls like the
# error, may miss by so many roots of that, but by no more than the second number.
_ROUNDING_OF_GAP, _LARGEST_VISIBLE = 256.0, 1e-3


class Experience:
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


class Confirmation:
    """Says whether what does not rest on H0 agrees that a fit has ended.

    Parameters are those of :func:`~sklearn_softmax._solvers.lbfgs.lbfgs`; ``has_l1`` says whether
    there is an L1 penalty.
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
