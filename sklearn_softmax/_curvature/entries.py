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


class EntryRows:
    """Sparse rows in memory, by row and by column, for models of their objective; with Numba.

    Parameters
    ----------
    objective : SoftmaxObjective
        Of sparse rows, scaled or not.
    """

    def __init__(self, objective):
        from .._arrays import compiled_descent

        self.loops = compiled_descent
        self.objective = objective
        blocks, scaling = objective.blocks, objective.scaling
        block = blocks.take(slice(0, blocks.n_rows))
        # Coordinates need X by features: this is the one copy of it that is made.
        self._rows, columns = block.X, sp.csr_array(block.X).tocsc()
        self.share = block.row_weights / blocks.total_weight
        self.offset = np.zeros(objective.n_features)
        if not scaling.is_trivial:
            factors = np.repeat(1.0 / scaling.scale, np.diff(columns.indptr))
            columns.data = columns.data * factors
            # A centred feature moves the intercepts too; here they are moved by themselves.
            self.offset = scaling.center / scaling.scale
        self.columns = columns.data, columns.indices, columns.indptr

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

    def model(self, matrix, pairs, gradient, l1):
        """Return the :class:`EntryModel` at some parameters."""
        return EntryModel(self, matrix, pairs, gradient, l1)

    def proba(self, matrix):
        """Return the probabilities (n_classes, n_rows) for a matrix of parameters."""
        coef, intercept = self.objective.scaling.to_raw(*self.objective.split(matrix))
        logits = np.ascontiguousarray((self._rows @ coef.T).T) + intercept[:, None]
        return softmax(with_reference(logits), axis=0)


class EntryModel:
    """The quadratic model of an objective at some parameters.

    Parameters
    ----------
    rows : EntryRows
    matrix : ndarray of shape (n_outputs, n_columns)
        Where the model is taken.
    pairs : tuple of ndarray of int
        Outputs and columns of the parameters to move, ordered by output.
    gradient, l1 : ndarray of shape (n_pairs,)
        The derivative of the smooth part there, and the weights of the absolute values.
    """

    def __init__(self, rows, matrix, pairs, gradient, l1):
        outputs, columns = pairs
        self._rows, self._start, self._n_outputs = rows, matrix[pairs], len(matrix)
        self._is_feature = is_feature = columns < rows.objective.n_features
        self._classes, self._features = outputs[is_feature], columns[is_feature]
        self._free = outputs[~is_feature]
        proba = rows.proba(matrix)
        # (p (1 - p) by itself: as a difference it would lose digits.)
        self._variance = spread(proba)[-len(matrix) :] * rows.share
        self._proba = np.ascontiguousarray(proba[-len(matrix) :])
        self._weighted = self._proba * rows.share
        self._offset = rows.offset[self._features]
        self._of_intercepts, self._gradient = gradient[~is_feature], gradient[is_feature]
        if len(self._free):
            slope = np.zeros(self._n_outputs)
            slope[self._free] = self._of_intercepts
            if self._n_outputs > 1:  # (one intercept is left where it is)
                slope[-1] = -slope[:-1].sum()
            self._gradient = self._gradient + slope[self._classes] * self._offset
        self._l1, self._l2 = l1[is_feature], rows.objective.l2_columns[self._features]
        curvature = np.empty(len(self._classes))
        pairs_of_features = *rows.columns, self._classes, self._features
        rows.loops.second_derivatives(*pairs_of_features, self._variance, curvature)
        self._curvature = np.where(curvature + self._l2 > 0, curvature, np.finfo(float).tiny)

    def minimise(self, radius, accuracy):
        """Return where the model and the penalties are about least.

        Parameters
        ----------
        radius : ndarray of shape (n_pairs,) or float
            How far each parameter may move.
        accuracy : float
            What may be left of the slope, relative to that at the start.

        Returns
        -------
        ndarray of shape (n_pairs,)
        """
        is_feature, radius = self._is_feature, np.broadcast_to(radius, self._start.shape)
        point, reach = self._start[is_feature], radius[is_feature]
        bounds = point - reach, point + reach
        change = np.zeros(len(point))
        logits, shared = np.zeros_like(self._proba), np.zeros(self._proba.shape[1])
        residual = np.empty_like(shared)
        intercepts = _Intercepts(
            self._free,
            self._proba,
            self._weighted,
            self._variance,
            self._of_intercepts,
            radius[~is_feature],
        )
        first = None
        for i in range(_MAX_SWEEPS):
            takes_all = i % _FULL_SWEEP == 0
            left = self._rows.loops.sweep_pairs(
                *self._rows.columns,
                self._classes,
                self._features,
                self._weighted,
                self._proba,
                self._gradient,
                self._curvature,
                self._l1,
                self._l2,
                *bounds,
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
        there = self._start.copy()
        there[is_feature] = point
        if len(self._free):
            moved = np.bincount(self._classes, change * self._offset, minlength=self._n_outputs)
            moved[self._free] += intercepts.change
            there[~is_feature] += moved[self._free] - (moved[-1] if self._n_outputs > 1 else 0.0)
        return there


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
