"""The exact Hessian of the loss, factored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

from . import _arrays
from ._hessians import add_pairs, add_softmax_hessian, n_pairs, sums_pairs, unpack_pairs
from ._rows import scaled_rows
from ._sums import with_reference
from .functional import softmax

# All rows of a table this small are kept as a scaled copy (bytes).
_SMALL_TABLE = 1 << 20


class ExactCurvature:
    """The Hessian on a sample of rows, with its Cholesky factor.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its Hessian is modelled.
    n_rows : int
        Size of the sample.
    rng : numpy.random.Generator
        Draws the sample.
    """

    def __init__(self, objective, n_rows, rng):
        self._objective = objective
        self._rng = rng
        self._n_rows = n_rows
        self._system = _NewtonSystem(objective.n_outputs, objective.l2_columns)
        self._takes_all = n_rows >= objective.blocks.n_rows
        self._is_small = 8 * n_rows * objective.n_columns <= _SMALL_TABLE
        self._sample: Any = None

    def renew(self, vector):
        """Compute and factor the Hessian at ``vector``."""
        if self._takes_all and not self._is_small:
            hessian = self._sum_over_blocks(vector)
        else:
            if self._sample is None or not self._takes_all:
                self._sample = self._objective.rows.sample(self._n_rows, self._rng).at_once()
            rows, weight = self._sample
            proba = self._objective.rows.sample_proba(vector, rows)
            hessian = self._system.sum_over_rows(rows, proba, weight, self._objective.blocks.share)
        self._system.factor(hessian)

    def _sum_over_blocks(self, vector):
        objective = self._objective
        row_sum = _HessianSum(
            self._system, objective.unpack(vector), objective.scaling, objective.fit_intercept
        )
        (hessian,) = objective.blocks.accumulate(row_sum)
        hessian /= objective.blocks.total_weight
        return hessian

    def solve(self, gradient, free=None):
        """Return the Newton step for a flat gradient; for all parameters only."""
        return self._objective.pack(self._system.solve(self._objective.unpack(gradient)))


@dataclass(frozen=True, eq=False)
class _HessianSum:
    """The weighted sum of the rows' Hessians, by scaled parameters."""

    system: Any
    matrix: Any
    scaling: Any
    fit_intercept: bool
    is_compiled = False
    block_rows = None

    def zeros(self):
        """Return a total to be added to."""
        return (self.system.zeros(),)

    def add(self, block, totals, share=None):
        """Add a block's."""
        rows = scaled_rows(block.X, self.scaling, self.fit_intercept)
        proba = softmax(with_reference(self.matrix @ rows.T), axis=0)
        self.system.add(rows, proba, block.row_weights, totals[0])


class _NewtonSystem:
    """The Hessian of all classes for some columns, factored, to be solved for a gradient.

    Adding a constant to the coefficients of all classes changes no probability, so for three
    and more classes the Hessian of the loss is singular. The last class is held at 0 while
    solving and the step centred over the classes afterwards, which is the step that the
    penalty prefers.

    Parameters
    ----------
    n_outputs : int
        Number of rows of W.
    l2_columns : ndarray of shape (n_columns,)
        Weight of half the square of the parameters of each column.
    """

    def __init__(self, n_outputs, l2_columns):
        self._n_outputs = n_outputs
        self._n_free = n_free_outputs(n_outputs)
        self._l2_columns = l2_columns
        self._size = self._n_free * l2_columns.shape[0]
        self._is_by_pairs = isinstance(l2_columns, np.ndarray) and sums_pairs(
            self._n_free, len(l2_columns)
        )

    def zeros(self):
        """Return a Hessian to be added to."""
        if self._is_by_pairs:
            n_columns = len(self._l2_columns)
            return np.zeros((n_pairs(self._n_free), n_pairs(n_columns)))
        return _arrays.zeros((self._size, self._size), self._l2_columns, "F")

    def add(self, rows, proba, weight, hessian):
        """Add what rows contribute to the mean, given their probabilities."""
        free = slice(1, None) if self._n_outputs == 1 else slice(self._n_free)
        add = add_pairs if self._is_by_pairs else add_softmax_hessian
        add(rows, proba[free, :], weight, hessian)

    def sum_over_rows(self, rows, proba, weight, share):
        """Return the sum over rows, on the threads of ``share``."""

        def run(start, stop):
            hessian = self.zeros()
            part = slice(start, stop)
            self.add(rows[part, :], proba[:, part], weight[part], hessian)
            return hessian

        hessian, *others = share(run, rows.shape[0], rows.shape[0] * self._size**2)
        for other in others:
            hessian += other
        return hessian

    def factor(self, hessian):
        """Add the penalty to a Hessian (which is overwritten), and factor it."""
        if not isinstance(hessian, np.ndarray):
            self._factor: Any = _ForeignCholeskyFactor(hessian + self._penalty())
            return
        n_free, n_columns = self._n_free, len(self._l2_columns)
        if self._is_by_pairs:
            hessian = unpack_pairs(hessian, n_free, n_columns)
        by_class = hessian.T.reshape(n_free, n_columns, n_free, n_columns)
        column = np.arange(n_columns)
        for k in range(n_free):
            by_class[k, column, k, column] += self._l2_columns
        if n_free < self._n_outputs:
            # The squared norm of centred coefficients, in terms of those not held at 0.
            by_class[:, column, :, column] -= (self._l2_columns / self._n_outputs)[:, None, None]
        self._factor = _CholeskyFactor(hessian)

    def _penalty(self):
        """Return the penalty's Hessian, for other libraries."""
        n_free, l2 = self._n_free, self._l2_columns
        across = np.eye(n_free)
        if n_free < self._n_outputs:
            across -= 1.0 / self._n_outputs
        blocks = _arrays.as_like(across, l2)[:, None, :, None]
        blocks = blocks * _arrays.diagonal_matrix(l2)[None, :, None, :]
        return _arrays.namespace(l2).reshape(blocks, (self._size, self._size))

    def solve(self, gradient):
        """Return the Newton step for a gradient, both (n_outputs, n_columns)."""
        xp = _arrays.namespace(gradient)
        step = xp.zeros_like(gradient)
        free = xp.reshape(gradient[: self._n_free, :], (-1,))
        step[: self._n_free, :] = xp.reshape(self._factor.solve(free), (self._n_free, -1))
        if self._n_free < self._n_outputs:
            step -= xp.sum(step, axis=0) / self._n_outputs
        return step


class _ForeignCholeskyFactor:
    """A positive semi-definite matrix of another library, factored as below."""

    def __init__(self, matrix):
        xp = _arrays.namespace(matrix)
        diagonal = xp.sum(matrix * _arrays.diagonal_matrix(xp.ones_like(matrix[0, :])), axis=0)
        smallest = float(np.finfo(float).eps) * xp.max(diagonal)
        self._scale = 1.0 / xp.sqrt(_arrays.at_least(diagonal, smallest))
        scaled = matrix * self._scale * self._scale[:, None]
        ridge = 1e-12
        while True:
            added = _arrays.diagonal_matrix(xp.ones_like(diagonal) * ridge)
            self._factor = _arrays.cholesky(scaled + added)
            if self._factor is not None:
                return
            ridge *= 100

    def solve(self, vector):
        return self._scale * _arrays.solve_cholesky(self._factor, self._scale * vector)


class _CholeskyFactor:
    """A positive semi-definite matrix, factored after scaling its diagonal to 1.

    Only the lower triangle is read.
    """

    def __init__(self, matrix):
        diagonal = np.diagonal(matrix)
        smallest = np.finfo(matrix.dtype).eps * diagonal.max(initial=1.0)
        self._scale = 1.0 / np.sqrt(np.maximum(diagonal, smallest))
        scaled = matrix * self._scale * self._scale[:, None]
        ridge = 1e-12
        while True:
            np.fill_diagonal(scaled, 1.0 + ridge)
            # LAPACK itself: on a small table SciPy's wrappers take longer than the work.
            self._factor, failed = lapack.dpotrf(scaled, lower=1, clean=0)
            if not failed:
                return
            ridge *= 100

    def solve(self, vector):
        solution, _ = lapack.dpotrs(self._factor, self._scale * vector, lower=1)
        return self._scale * solution


def n_free_outputs(n_outputs):
    """Return how many rows of W are free where a constant over the classes changes nothing."""
    return max(1, n_outputs - 1)
