r"""Proximal Newton for L1 penalties and the elastic net, ended by the duality gap.

Where few parameters are not zero, a small Hessian tells all: that of the loss by those, and by the
zeros that would leave most. An iteration takes these as its working set, minimises the quadratic
model and the penalty over them (:mod:`sklearn_softmax._solvers.quadratic`), and searches along the
way there. Once the support has settled that is Newton's method, and converges as fast.

The loop ends when the duality gap says so. That takes a pass over the rows or two, so it is asked
when an estimate of it, from a gradient that is there anyway, is small enough.

Adding a constant to a feature's coefficients of all classes changes no probability, but the
penalty. Descent by coordinates cannot see that direction, and the Hessian has no curvature
along it; so each iteration takes the constant that the penalty likes best.
"""

import itertools
from typing import Any

import numpy as np

from .._arrays.portable import all_finite
from .confirmation import NEGLIGIBLE, least_gap
from .history import RESOLUTION
from .lbfgs import Iterate
from .quadratic import minimise, steepest

# Zeros enter the working set if they are pulled at by this share of the strongest pull, and at
# most as many as this multiple of the support; or as many as make a Hessian no dearer than a
# few evaluations.
_LEAST_PULL, _ENTRANTS = 0.1, 1.0
# There must be room for so many at least, relative to the support.
_LEAST_ROOM = 0.1
_CHEAP = 1.0
# No model of the curvature is made that costs more evaluations than this.
_DEAREST = 30.0
# What a quadratic model may leave of the slope.
_ACCURACY = 0.01
# A step must bring this share of the decrease that the model's slope promises. Where rounding, of
# this relative size, may hide it, that is the second share, or what pulls at the parameters must
# become less by the last number.
_DECREASE, _SLACK, _CLEAR_DECREASE, _LESS = 1e-4, 1e-9, 0.1, 0.9
_MAX_TRIALS = 4
# Where a step does not lead down, the change of logits is bounded: first by the last number, at
# most, then by less and less.
_MAX_NARROWINGS, _NARROWER, _WIDER, _WIDEST = 16, 0.25, 8.0, 40.0
# What the next step may promise where a fit ends, in units of the square of ``tol``.
_LEFT = 5.0
# After so many iterations that have not lowered the objective it is as low as rounding lets it be.
_PATIENCE = 10
# A model that promises less than this, relative to the loss, is a model of rounding errors.
_LEAST_PROMISE = RESOLUTION**2


def coordinate_descent(objective, curvature, vector, *, tol, certificate, certificate_order=1):
    r"""Minimise a convex objective plus :math:`\sum_j \lambda_j |v_j|`.

    Parameters
    ----------
    objective : object
        As for :func:`~sklearn_softmax._solvers.lbfgs.lbfgs`; and ``objective.penalty_columns`` are
        the weights of absolute values and half squares of the parameters of each column,
        ``objective.unpack`` and ``objective.pack`` turn a vector into a matrix with these columns
        and back, ``objective.largest_curvature`` bounds the second derivatives for each column,
        ``objective.fit_intercept`` says whether the last column is one that has no penalty, and
        ``objective.in_float64()`` is the same objective in full precision.
    curvature : callable
        ``curvature(objective, minimise)`` returns what has ``most_pairs(n_evaluations)``,
        ``minimiser(matrix, pairs, gradient, l1)`` and ``largest_entries()``: see
        :class:`sklearn_softmax._curvature.pairs.PairCurvature`.
    vector : ndarray
        Where to start; from zeros if the objective is larger there than at zero.
    tol : float
        When to stop.
    certificate : callable
        ``certificate(objective, vector, loss=, gradient=)``, of the whole objective and the
        gradient of its smooth part, bounds how far the objective is above its minimum.
    certificate_order : {1, 2}, default=1
        It must be no more than ``tol`` to that power times the objective.

    Yields
    ------
    Iterate
        First for the start itself, then after each iteration. Only the last one's status is
        not "running".

    Returns
    -------
    Iterate or None
        Where Hessians would be too large, the state for another solver to go on from, which has
        not been yielded.
    """
    fit = _Fit(objective, curvature, certificate, tol, certificate_order)
    point = fit.evaluate(fit.matrix(vector))
    if not (np.isfinite(point.loss) and all_finite(point.gradient)):
        raise ValueError(
            "The loss or its gradient is not finite at the start of the fit: X, or the "
            "coefficients of a warm start, hold values too large for their dtype. Scale them."
        )
    if point.loss > objective.uniform_loss and point.matrix.any():
        # Worse than nothing: where probabilities are all but 0 and 1 there is no curvature.
        point = fit.evaluate(np.zeros_like(point.matrix))
    n_iter = 0
    while True:
        state = fit.state(point, n_iter)
        if fit.is_certified(point):
            yield fit.ended(state, point, "converged")
            return None
        pairs = fit.working_set(point)
        if pairs is None:
            return state
        yield state
        found = None if fit.has_stalled else fit.step(point, pairs)
        while found is None and fit.refine():
            point = fit.evaluate(point.matrix)
            found = fit.step(point, fit.working_set(point) or pairs)
        if found is None:
            state.loss = point.loss
            yield fit.ended(state, point, fit.last_status(point))
            return None
        fit.note(found.loss < point.loss * (1 - np.sign(point.loss) * RESOLUTION))
        point, n_iter = found, n_iter + 1


class _Point:
    """Parameters, and what the objective says of them."""

    def __init__(self, matrix, loss, gradient, l1):
        self.matrix = matrix
        self.loss = loss
        self.gradient = gradient
        self.pull = steepest(matrix, gradient, l1)
        self.gap: Any = None  # until it is asked for


class _Fit:
    """What the iterations of a fit share. Parameters are those of :func:`coordinate_descent`."""

    def __init__(self, objective, curvature, certificate, tol, order):
        self._make_curvature = curvature
        self._certificate = certificate
        self._tol, self._relative = tol, tol**order
        self._order = order
        self._take(objective)
        self._l1, self._l2 = objective.penalty_columns
        self._bound = objective.largest_curvature
        self._negligible = NEGLIGIBLE * objective.uniform_loss
        self._n_evaluations = 0
        self._n_asked, self._n_to_wait = 0, 0
        self._n_stalled = 0
        self._reach: Any = np.inf  # how far logits may move in a step
        self._largest: Any = None
        self._decrement = np.inf
        self._promises: list[float] = []  # of the last steps

    def _take(self, objective):
        self._objective = objective
        self._curvature = self._make_curvature(objective, minimise)

    def refine(self):
        """Go on in full precision; return whether that is another one."""
        precise = self._objective.in_float64()
        if precise is self._objective:
            return False
        self._take(precise)
        self._n_asked, self._n_to_wait, self._n_stalled = 0, 0, 0
        return True

    def note(self, is_lower):
        """Take note of whether an iteration has lowered the objective."""
        self._n_stalled = 0 if is_lower else self._n_stalled + 1

    @property
    def has_stalled(self):
        """Whether the objective has long been as low as rounding lets it be."""
        return self._n_stalled >= _PATIENCE

    def matrix(self, vector):
        """Return the parameters of a vector, for keeps."""
        return np.array(self._objective.unpack(vector), order="C")

    def evaluate(self, matrix):
        """Return the :class:`_Point` of some parameters."""
        self._n_evaluations += 1
        loss, gradient = self._objective.loss_gradient(self._objective.pack(matrix))
        loss += float(np.abs(matrix).sum(axis=0) @ self._l1)
        gradient = np.array(self._objective.unpack(gradient), order="C")
        return _Point(matrix, loss, gradient, self._l1)

    def state(self, point, n_iter):
        """Return what is told of a point."""
        vector = self._objective.pack(point.matrix)
        return Iterate(vector, point.loss, n_iter, self._n_evaluations, self._decrement)

    def ended(self, state, point, status):
        """Return a state as the last one."""
        state.status, state.gradient = status, self._objective.pack(point.gradient)
        state.gap = point.gap
        return state

    # The end --------------------------------------------------------------------------

    def _size(self, point):
        return max(abs(point.loss), self._negligible)

    def is_certified(self, point):
        """Return whether the duality gap is small enough.

        It is looked at where its estimate is, and the more rarely the more often that was in vain.
        A gap that falls like the error says little of what another step would bring. So the next
        one must promise no more than some ``tol**2``, relatively, going by the last ones; or the
        gap must be at most one of them.
        """
        is_far = _LEFT * self._tol**2 * self._size(point) < self._next_decrement(point)
        allowed = (self._tol**2 if is_far else self._relative) * self._size(point)
        if self._estimated_gap(point) > allowed:
            return False
        self._n_to_wait -= 1
        if self._n_to_wait > 0:
            return False
        self._n_asked += 1
        self._n_to_wait = self._n_asked
        return self._gap(point) <= allowed

    def _next_decrement(self, point):
        """Return about what the next step would promise; 0 where none has been taken.

        Each promises a share of what the one before did, and near the optimum less of a share each
        time: the first step's promise shrinks to about its square.
        """
        first, *others = self._promises or [0.0]
        if not others:
            return first**2 / self._size(point)
        shares = [after / before for before, after in itertools.pairwise(self._promises)]
        trend = min(1.0, shares[-1] / shares[0]) if len(shares) > 1 else 1.0
        return self._promises[-1] * shares[-1] * trend

    def last_status(self, point):
        """Return how a fit has ended from which no step leads down."""
        allowed = self._relative
        if self._decrement <= RESOLUTION * self._size(point):
            # Where the loss shows no more, rounding errors are as large in the gap as they may be.
            allowed = least_gap(self._tol, self._objective.epsilon)
        return "converged" if self._gap(point) <= allowed * self._size(point) else "precision"

    def _gap(self, point):
        if point.gap is None:
            objective, pack = self._objective, self._objective.pack
            point.gap = self._certificate(
                objective, pack(point.matrix), loss=point.loss, gradient=pack(point.gradient)
            )
        return point.gap

    def _estimated_gap(self, point):
        """Return about what the certificate will say, from the gradient alone.

        For the model's own probabilities p the loss is their entropy plus the product of its
        gradient with the parameters: that is the gap, if the gradient is one that the conjugate
        of the penalty allows. If it is not, p moves towards the targets.
        """
        matrix, l1, l2 = point.matrix, self._l1, self._l2
        slope = point.gradient - l2 * matrix
        size = np.abs(matrix).sum(axis=0) @ l1 + 0.5 * (matrix * matrix).sum(axis=0) @ l2
        product = float(np.sum(slope * matrix))
        gap = product + float(size)
        n_features = self._n_penalised
        beyond = np.maximum(np.abs(slope) - l1, 0.0)[:, :n_features]
        if self._order == 2:
            gap += 0.5 * float(np.sum(beyond * beyond / l2[:n_features]))
        else:
            excess = float(np.max(beyond / l1[:n_features], initial=0.0))
            share = excess / (1.0 + excess)
            gap += share * max(-product, 0.0) + share**2 * point.loss
        if self._objective.fit_intercept:
            shift = float(np.abs(slope[:, -1]).sum())
            gap += 2.0 * shift * (1.0 + float(np.abs(matrix[:, -1]).max()))
        return max(gap, 0.0)

    @property
    def _n_penalised(self):
        return self._objective.n_columns - self._objective.fit_intercept

    # A step ---------------------------------------------------------------------------

    def working_set(self, point):
        """Return outputs and columns of the parameters to move; None where they are too many."""
        matrix, n_features = point.matrix, self._n_penalised
        is_chosen = matrix != 0
        if self._objective.fit_intercept:
            # A constant in all intercepts changes nothing: the last one stays where it is.
            n_free = max(1, len(matrix) - 1)
            is_chosen[:, -1] = np.arange(len(matrix)) < n_free
        n_support = int(is_chosen.sum())
        most = self._curvature.most_pairs(_DEAREST)
        if n_support > most:
            return None
        scores = np.abs(point.pull) / np.sqrt(self._bound)
        scores[:, n_features:] = 0.0
        scores[is_chosen] = 0.0
        candidates = np.flatnonzero(scores > _LEAST_PULL * scores.max())
        room = most - n_support
        if room < min(len(candidates), 1 + int(_LEAST_ROOM * n_support)):
            return None
        cheap = self._curvature.most_pairs(_CHEAP)
        n_entrants = int(min(max(_ENTRANTS * n_support, cheap - n_support), room))
        if len(candidates) > n_entrants:
            order = np.argsort(-scores.ravel()[candidates], kind="stable")
            candidates = candidates[order[:n_entrants]]
        is_chosen.ravel()[candidates] = True
        return np.nonzero(is_chosen)

    def step(self, point, pairs):
        """Return the next point; None where none leads down that rounding errors do not hide."""
        if not len(pairs[0]):  # nothing pulls at any parameter
            self._decrement = 0.0
            return None
        slope, l1 = point.gradient[pairs], self._l1[pairs[1]]
        minimise = self._curvature.minimiser(point.matrix, pairs, slope, l1)
        for _ in range(_MAX_NARROWINGS):
            change, promised = self._model_step(point, pairs, minimise)
            self._decrement = -promised
            if not promised < -_LEAST_PROMISE * self._size(point):
                return None
            promises = [*self._promises[-2:], -promised]
            found, length = self._search(point, pairs, change, promised)
            if found is not None:
                self._promises = promises
                self._reach *= _WIDER if length == 1.0 else max(length, _NARROWER)
                return found
            if -promised <= 4 * self._objective.epsilon * self._size(point):
                return None
            self._narrow(pairs, change)
        return None

    def _model_step(self, point, pairs, minimise):
        """Return the step to the minimum of the quadratic model, and what it promises."""
        start, slope, l1 = point.matrix[pairs], point.gradient[pairs], self._l1[pairs[1]]
        radius = np.full(len(start), np.inf)
        if np.isfinite(self._reach):
            radius = self._reach / self._largest[pairs[1]]
        there = minimise(radius, _ACCURACY)
        change = there - start
        promised = slope @ change + l1 @ (np.abs(there) - np.abs(start))
        return change, float(promised)

    def _search(self, point, pairs, change, promised):
        """Halve a step until it leads down; return the point there, and the length."""
        slack = max(_SLACK, 4 * self._objective.epsilon) * abs(point.loss)
        length = 1.0
        for _ in range(_MAX_TRIALS):
            matrix = point.matrix.copy()
            matrix[pairs] += length * change
            if length == 1.0:  # (v + (u - v) need not be u)
                is_zero = point.matrix[pairs] == -change
                matrix[pairs] = np.where(is_zero, 0.0, matrix[pairs])
            found = self.evaluate(self._recentred(matrix))
            if np.isfinite(found.loss):
                may_be_hidden = -promised <= slack
                share = _CLEAR_DECREASE if may_be_hidden else _DECREASE
                if found.loss <= point.loss + share * length * promised:
                    return found, length
                is_level = may_be_hidden and abs(found.loss - point.loss) <= slack
                if is_level and self._pulls_less(found, point):
                    return found, length
            length *= 0.5
            if -promised * length <= self._objective.epsilon * abs(point.loss):
                break
        return None, length

    def _pulls_less(self, found, point):
        new, old = (np.sum(p.pull**2 / self._bound) for p in (found, point))
        return new <= _LESS**2 * old

    def _narrow(self, pairs, change):
        """Bound the logits' change by less than that of a step that was too long."""
        if self._largest is None:
            largest = self._curvature.largest_entries()
            self._largest = np.where(largest > 0, largest, 1.0)
        longest = float(np.max(np.abs(change) * self._largest[pairs[1]]))
        self._reach = _NARROWER * min(self._reach, longest, _WIDEST)

    def _recentred(self, matrix):
        """Add to each feature's coefficients the constant that the penalty likes best, in place."""
        n_outputs = len(matrix)
        if n_outputs == 1:
            return matrix
        used = np.flatnonzero(matrix[:, : self._n_penalised].any(axis=0))
        coef = np.sort(matrix[:, used], axis=0)
        l1, l2 = self._l1[used], self._l2[used]
        if self._order == 2:
            # The median of the coefficients and of these points: one for each number of
            # coefficients that are below.
            below = np.arange(n_outputs + 1)[:, None]
            stops = coef.mean(axis=0) + l1 * (n_outputs - 2 * below) / (l2 * n_outputs)
            center = np.sort(np.concatenate([coef, stops]), axis=0)[n_outputs]
        else:
            low, high = coef[(n_outputs - 1) // 2], coef[n_outputs // 2]
            center = np.clip(0.0, low, high)
        is_off = center != 0
        matrix[:, used[is_off]] -= center[is_off]
        return matrix
