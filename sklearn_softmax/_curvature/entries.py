r"""A quadratic model of the loss that is never written down: descent by the entries of sparse rows.

Of a model with thousands of coefficients that are not zero, as of text, a Hessian is too large.
Coordinate descent needs none. A step along one coefficient costs as much as its feature has entries
that are not zero, for any number of classes (:mod:`sklearn_softmax._arrays.compiled_descent`). The
intercepts, which all rows have, are minimised together.
"""

import numpy as np
import scipy.sparse as sp

from .._arrays import native
from .._rows.sums import spread, with_reference
from ..functional import softmax

# From so many multiplications an evaluation on, compiled loops repay what it takes to load them.
_LEAST_WORK = 1_000_000
# The largest mean of a feature, in standard deviations, for which alternating with the intercepts
# works: the number of sweeps grows as its square.
_LARGEST_OFFSET = 5.0
# The most sweeps. Every one of so many is over all coefficients, the others are over those that are
# not zero.
_MAX_SWEEPS, _FULL_SWEEP = 60, 6


class EntryModel:
    """The quadratic model of an objective for sparse rows in memory, with Numba.

    Parameters
    ----------
    objective : SoftmaxObjective
        Of sparse rows, scaled or not.
    """

    def __init__(self, objective):
        from .._arrays import compiled_descent

        self._loops = compiled_descent
        self._objective = objective
        blocks = objective.blocks
        rows, weight = blocks.X, blocks.host_weight
        if blocks.n_weighted < blocks.n_rows:
            kept = np.flatnonzero(weight)
            rows, weight = rows[kept], weight[kept]
        # Coordinates need X by features: this is the one copy of it that is made.
        self._rows = sp.csr_array(rows)
        self._columns = self._rows.tocsc()
        self._offset = np.zeros(objective.n_features)
        scaling = objective.scaling
        if not scaling.is_trivial:
            factors = np.repeat(1.0 / scaling.scale, np.diff(self._columns.indptr))
            self._columns.data = self._columns.data * factors
            # A centred feature moves the intercepts too; here they are moved by themselves.
            self._offset = scaling.center / scaling.scale
        n_rows = self._rows.shape[0]
        share = np.ones(n_rows) if weight is None else np.asarray(weight, dtype=np.float64)
        self._share = share / blocks.total_weight

    @classmethod
    def applies(cls, objective):
        """Return whether there are such rows, and enough work for compiled loops."""
        blocks = objective.blocks
        if not (blocks.is_sparse and blocks.is_numpy):
            return False
        if np.max(np.abs(objective.scaling.center) / objective.scaling.scale) > _LARGEST_OFFSET:
            return False
        is_enough = blocks.n_stored * objective.n_outputs >= _LEAST_WORK
        return is_enough and native.compiled_loops().add_sparse is not None

    def minimise(self, matrix, pairs, gradient, l1, radius, accuracy):
        """Return where the model and the penalties are about least.

        Parameters
        ----------
        matrix : ndarray of shape (n_outputs, n_columns)
            Where the model is taken.
        pairs : tuple of ndarray of int
            Outputs and columns of the parameters to move, ordered by output.
        gradient, l1 : ndarray of shape (n_pairs,)
            The derivative of the smooth part there, and the weights of the absolute values.
        radius : ndarray of shape (n_pairs,) or float
            How far each may move.
        accuracy : float
            What may be left of the slope, relative to that at the start.

        Returns
        -------
        ndarray of shape (n_pairs,)
        """
        n_features = self._objective.n_features
        outputs, columns = pairs
        is_feature = columns < n_features
        proba = self._proba(matrix)
        # (p (1 - p) by itself: as a difference it would lose digits.)
        variance = spread(proba)[-len(matrix) :] * self._share
        proba = np.ascontiguousarray(proba[-len(matrix) :])
        weighted = proba * self._share
        start = matrix[pairs]
        free = outputs[~is_feature]
        offset = self._offset[columns[is_feature]]
        gradient = gradient.copy()
        if len(free):
            of_intercepts = np.zeros(len(matrix))
            of_intercepts[free] = gradient[~is_feature]
            if len(matrix) > 1:  # (one intercept is left where it is)
                of_intercepts[-1] = -of_intercepts[:-1].sum()
            gradient[is_feature] += of_intercepts[outputs[is_feature]] * offset
        lower, upper = start - radius, start + radius
        classes, features = outputs[is_feature], columns[is_feature]
        X = self._columns.data, self._columns.indices, self._columns.indptr
        curvature = np.empty(len(classes))
        self._loops.second_derivatives(*X, classes, features, variance, curvature)
        l2 = self._objective.l2_columns[features]
        curvature = np.where(curvature + l2 > 0, curvature, np.finfo(float).tiny)
        point, change = start[is_feature], np.zeros(len(classes))
        logits, shared = np.zeros_like(proba), np.zeros(proba.shape[1])
        residual = np.empty_like(shared)
        reach = np.broadcast_to(radius, start.shape)[~is_feature]
        intercepts = _Intercepts(free, proba, weighted, variance, gradient[~is_feature], reach)
        first = None
        for i in range(_MAX_SWEEPS):
            takes_all = i % _FULL_SWEEP == 0
            left = self._loops.sweep_pairs(
                *X,
                classes,
                features,
                weighted,
                proba,
                gradient[is_feature],
                curvature,
                l1[is_feature],
                l2,
                np.broadcast_to(lower, start.shape)[is_feature],
                np.broadcast_to(upper, start.shape)[is_feature],
                point,
                change,
                logits,
                shared,
                residual,
                takes_all,
            )
            intercepts.minimise(logits, shared)
            first = left if first is None else first
            if takes_all and i and left <= accuracy**2 * first:
                break
        there = start.copy()
        there[is_feature] = point
        if len(free):
            moved = np.bincount(classes, change * offset, minlength=len(matrix))
            moved[free] += intercepts.change
            there[~is_feature] += moved[free] - (moved[-1] if len(matrix) > 1 else 0.0)
        return there

    def _proba(self, matrix):
        coef, intercept = self._objective.scaling.to_raw(*self._objective.split(matrix))
        logits = np.ascontiguousarray((self._rows @ coef.T).T) + intercept[:, None]
        return softmax(with_reference(logits), axis=0)


class _Intercepts:
    """The intercepts that move, minimised together over the same model.

    Parameters
    ----------
    free : ndarray of int
        Their outputs.
    proba, weighted, variance : ndarray of shape (n_outputs, n_rows)
    gradient, reach : ndarray of shape (n_free,)
        The derivatives by them, and how far they may move.
    """

    def __init__(self, free, proba, weighted, variance, gradient, reach):
        self._reach = reach
        self._free = free
        self._proba, self._weighted = proba[free], weighted[free]
        self._gradient = gradient
        self.change = np.zeros(len(free))
        hessian = -self._weighted @ self._proba.T
        np.fill_diagonal(hessian, variance[free].sum(axis=1))
        self._inverse = np.linalg.pinv(hessian, hermitian=True)

    def minimise(self, logits, shared):
        """Take the step to the minimum, in place."""
        if not len(self._free):
            return
        moved = np.einsum("ki,ki->k", self._weighted, logits[self._free] - shared)
        wanted = self.change - self._inverse @ (self._gradient + moved)
        wanted = np.clip(wanted, -self._reach, self._reach)
        step, self.change = wanted - self.change, wanted
        logits[self._free] += step[:, None]
        shared += step @ self._proba
