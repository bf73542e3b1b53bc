"""The exact Hessian of the loss, factored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

from .._arrays import portable
from .._objective.scaled_rows import scaled_rows
from .._rows.sums import spread, with_reference
from ..functional import softmax
from .axes import LEAST_VARIANCE, collinear_axes
from .hessians import add_pairs, add_softmax_hessian, n_pairs, sums_pairs, unpack_pairs

# Squared pivots of the Hessian with its diagonal scaled to 1, below which digits that matter are
# lost in it; and the smallest size of rows along an axis that it shows, relative to the largest.
_LEAST_PIVOT = 1e-9
_WELL_CONDITIONED = 1e-4
# The curvature of an axis along which rows do not reach, where 1 is that of one which they do.
_HOLD = 1e4
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
        self._system = _NewtonSystem(
            objective.n_outputs, objective.l2_columns, objective.largest_curvature
        )
        self._takes_all = n_rows >= objective.blocks.n_rows
        self.is_sampled = not self._takes_all
        self._is_small = 8 * n_rows * objective.n_columns <= _SMALL_TABLE
        self._sample: Any = None
        self._basis: Any = None
        self._holds = False
        self._has_looked_for_basis = False

    def renew(self, vector):
        """Compute and factor the Hessian at ``vector``."""
        self._factor_at(vector)
        if self._system.is_nearly_singular and not self._has_looked_for_basis:
            self._has_looked_for_basis = True
            self._basis, held = self._collinear_basis()
            if self._basis is not None:
                self._holds = bool(portable.namespace(held).any(held > 0))
                penalty = self._basis.T @ (self._objective.l2_columns[:, None] * self._basis)
                penalty = penalty + portable.diagonal_matrix(held)
                largest = portable.zeros((penalty.shape[0],), penalty) + 1.0
                self._system = _NewtonSystem(self._objective.n_outputs, penalty, largest)
                self._factor_at(vector)

    @property
    def is_nearly_singular(self):
        """Whether rounding errors matter in some direction, or some are held for them."""
        return self._system.is_nearly_singular or self._holds

    def _factor_at(self, vector):
        if self._takes_all and not self._is_small:
            hessian = self._sum_over_blocks(vector)
        else:
            if self._sample is None or not self._takes_all:
                self._sample = self._objective.rows.sample(self._n_rows, self._rng).at_once()
            rows, weight = self._sample
            proba = self._objective.rows.sample_proba(vector, rows)
            rows = rows if self._basis is None else rows @ self._basis
            hessian = self._system.sum_over_rows(rows, proba, weight, self._objective.blocks.share)
        self._system.factor(hessian)

    def _collinear_basis(self):
        """Return axes along which the rows are of unit size, and what curvature to add to each.

        Of two features that differ by 1e-10 of their size, products show 1e-20 of it, and that is
        lost. Along the axes themselves the rows show it. Both are None where there is nothing to
        gain.
        """
        objective = self._objective
        sample = objective.rows.sample(self._n_rows, self._rng)
        axes, sizes = collinear_axes(
            sample, portable.zeros((objective.n_columns,), objective.l2_columns) + 1.0
        )
        xp = portable.namespace(sizes)
        largest = xp.max(sizes)
        if float(xp.min(sizes)) > _WELL_CONDITIONED * float(largest):
            return None, None
        least = LEAST_VARIANCE**0.5 * largest
        # Rows that seem to reach along an axis by less than that do so by rounding errors.
        held = _HOLD * portable.cast(sizes < least, np.float64)
        return axes / portable.at_least(sizes, least), held

    def _sum_over_blocks(self, vector):
        objective = self._objective
        row_sum = _HessianSum(
            self._system,
            objective.unpack(vector),
            objective.scaling,
            objective.fit_intercept,
            self._basis,
        )
        (hessian,) = objective.blocks.accumulate(row_sum)
        hessian /= objective.blocks.total_weight
        return hessian

    def solve(self, gradient, free=None):
        """Return the Newton step for a flat gradient; for all parameters only."""
        gradient = self._objective.unpack(gradient)
        if self._basis is None:
            return self._objective.pack(self._system.solve(gradient))
        return self._objective.pack(self._system.solve(gradient @ self._basis) @ self._basis.T)


@dataclass(frozen=True, eq=False)
class _HessianSum:
    """The weighted sum of the rows' Hessians, by scaled parameters."""

    system: Any
    matrix: Any
    scaling: Any
    fit_intercept: bool
    basis: Any = None
    is_compiled = False
    block_rows = None

    def zeros(self):
        """Return a total to be added to."""
        return (self.system.zeros(),)

    def add(self, block, totals, share=None):
        """Add a block's."""
        rows = scaled_rows(block.X, self.scaling, self.fit_intercept)
        proba = softmax(with_reference(self.matrix @ rows.T), axis=0)
        rows = rows if self.basis is None else rows @ self.basis
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
    penalty : ndarray of shape (n_columns,) or (n_columns, n_columns)
        The penalty's Hessian by a row of W: its diagonal, if it has nothing else.
    largest : ndarray of shape (n_columns,)
        What the diagonal of the loss's can be. It is a difference of sums of this size, and less
        than their rounding errors it cannot show.
    """

    def __init__(self, n_outputs, penalty, largest):
        self._n_outputs = n_outputs
        self._n_free = n_free_outputs(n_outputs)
        self._penalty = penalty
        self._least = float(np.finfo(float).eps) * portable.namespace(largest).concat(
            [largest] * self._n_free
        )
        self._n_columns = penalty.shape[0]
        self._size = self._n_free * self._n_columns
        self._is_by_pairs = isinstance(penalty, np.ndarray) and sums_pairs(
            self._n_free, self._n_columns
        )

    def zeros(self):
        """Return a Hessian to be added to."""
        if self._is_by_pairs:
            return np.zeros((n_pairs(self._n_free), n_pairs(self._n_columns)))
        return portable.zeros((self._size, self._size), self._penalty, "F")

    def add(self, rows, proba, weight, hessian):
        """Add what rows contribute to the mean, given their probabilities."""
        free = slice(1, None) if self._n_outputs == 1 else slice(self._n_free)
        add = add_pairs if self._is_by_pairs else add_softmax_hessian
        add(rows, proba[free, :], spread(proba)[free, :], weight, hessian)

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
            self._factor: Any = _ForeignCholeskyFactor(
                hessian + self._foreign_penalty(), self._least
            )
            return
        n_free, n_columns = self._n_free, self._n_columns
        if self._is_by_pairs:
            hessian = unpack_pairs(hessian, n_free, n_columns)
        by_class = hessian.T.reshape(n_free, n_columns, n_free, n_columns)
        column = np.arange(n_columns)
        # The squared norm of centred coefficients, in terms of those not held at 0.
        shared = self._penalty / self._n_outputs if n_free < self._n_outputs else None
        if self._penalty.ndim == 1:
            for k in range(n_free):
                by_class[k, column, k, column] += self._penalty
            if shared is not None:
                by_class[:, column, :, column] -= shared[:, None, None]
        else:
            for k in range(n_free):
                by_class[k, :, k, :] += self._penalty
            if shared is not None:
                by_class -= shared[None, :, None, :]
        self._factor = _CholeskyFactor(hessian, self._least)

    def _foreign_penalty(self):
        """Return the penalty's Hessian, for other libraries."""
        n_free, penalty = self._n_free, self._penalty
        across = np.eye(n_free)
        if n_free < self._n_outputs:
            across -= 1.0 / self._n_outputs
        if penalty.ndim == 1:
            penalty = portable.diagonal_matrix(penalty)
        blocks = portable.as_like(across, penalty)[:, None, :, None] * penalty[None, :, None, :]
        return portable.namespace(penalty).reshape(blocks, (self._size, self._size))

    @property
    def is_nearly_singular(self):
        """Whether rounding errors matter in some direction."""
        return self._factor.least_pivot < _LEAST_PIVOT

    def solve(self, gradient):
        """Return the Newton step for a gradient, both (n_outputs, n_columns)."""
        xp = portable.namespace(gradient)
        step = xp.zeros_like(gradient)
        free = xp.reshape(gradient[: self._n_free, :], (-1,))
        step[: self._n_free, :] = xp.reshape(self._factor.solve(free), (self._n_free, -1))
        if self._n_free < self._n_outputs:
            step -= xp.sum(step, axis=0) / self._n_outputs
        return step


class _ForeignCholeskyFactor:
    """A positive semi-definite matrix of another library, factored as below."""

    def __init__(self, matrix, least):
        xp = portable.namespace(matrix)
        diagonal = xp.sum(matrix * portable.diagonal_matrix(xp.ones_like(matrix[0, :])), axis=0)
        self._scale = 1.0 / xp.sqrt(xp.maximum(diagonal, least))
        scaled = matrix * self._scale * self._scale[:, None]
        ridge = 1e-12
        while True:
            added = portable.diagonal_matrix(xp.ones_like(diagonal) * ridge)
            self._factor = portable.cholesky(scaled + added)
            if self._factor is not None:
                pivots = portable.to_numpy(self._factor).diagonal()
                self.least_pivot = float(np.min(pivots)) ** 2
                return
            ridge *= 100

    def solve(self, vector):
        return self._scale * portable.solve_cholesky(self._factor, self._scale * vector)


class _CholeskyFactor:
    """A positive semi-definite matrix, factored after scaling its diagonal to 1.

    Only the lower triangle is read, and a diagonal below ``least`` is taken for that.
    """

    def __init__(self, matrix, least):
        diagonal = np.diagonal(matrix)
        self._scale = 1.0 / np.sqrt(np.maximum(diagonal, least))
        scaled = matrix * self._scale * self._scale[:, None]
        ridge = 1e-12
        while True:
            np.fill_diagonal(scaled, 1.0 + ridge)
            # LAPACK itself: on a small table SciPy's wrappers take longer than the work.
            self._factor, failed = lapack.dpotrf(scaled, lower=1, clean=0)
            if not failed:
                self.least_pivot = self._factor.diagonal().min(initial=1.0) ** 2
                return
            ridge *= 100

    def solve(self, vector):
        solution, _ = lapack.dpotrs(self._factor, self._scale * vector, lower=1)
        return self._scale * solution


def n_free_outputs(n_outputs):
    """Return how many rows of W are free where a constant over the classes changes nothing."""
    return max(1, n_outputs - 1)
