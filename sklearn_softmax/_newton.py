"""The exact Hessian of the loss, factored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import blas, lapack

from . import _arrays
from ._rows import scaled_rows
from ._sums import with_reference
from .functional import softmax

# Rows whose outer products are summed in one go, by the size of the products (bytes).
_OUTER_BYTES = 2 << 20
_OUTER_ROWS = 64
_FOREIGN_OUTER_BYTES = 64 << 20
# Products of pairs of features are taken for so many rows at once, by their size (bytes). They pay
# from so many classes on; for fewer features, whose products stay in cache, from fewer.
_PAIRS_BYTES = 2 << 20
_FEWEST_PAIR_ROWS, _MOST_PAIR_ROWS = 128, 1024
_PAIR_OUTPUTS = 6
_PAIR_COST = 10  # of a product of two features, in multiplications of a large matrix product
_FEW_COLUMNS, _PAIR_OUTPUTS_OF_FEW = 64, 4
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
                self._sample = self._objective.rows.sample(self._n_rows, self._rng)
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
            return np.zeros((_n_pairs(self._n_free), _n_pairs(n_columns)))
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


def add_softmax_hessian(rows, proba, weight, hessian):
    r"""Add :math:`\sum_i w_i (\operatorname{diag}(p_i) - p_i p_i^\top) \otimes z_i z_i^\top`.

    Written as a block-diagonal part less one symmetric product :math:`Q^\top Q`, where row i
    of Q is :math:`\sqrt{w_i} \, p_i \otimes z_i`.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_columns)
        The z.
    proba : ndarray of shape (n_outputs, n_rows)
        The p, of all classes or of some.
    weight : ndarray of shape (n_rows,)
        The w.
    hessian : ndarray of shape (n_outputs * n_columns, n_outputs * n_columns)
        Added to in place, in its lower triangle. In Fortran order.
    """
    n_outputs, n_rows = proba.shape
    n_columns = rows.shape[1]
    size = n_outputs * n_columns
    if not isinstance(rows, np.ndarray):
        _add_foreign_hessian(rows, proba, weight, hessian)
        return
    if n_outputs == 1:
        scaled = rows * np.sqrt(proba[0] * (1.0 - proba[0]) * weight)[:, None]
        hessian += scaled.T @ scaled
        return
    by_class = hessian.T.reshape(n_outputs, n_columns, n_outputs, n_columns)
    root = np.sqrt(weight)
    step = max(_OUTER_ROWS, _OUTER_BYTES // (8 * size))
    outers = np.empty((min(step, n_rows), n_outputs, n_columns))
    for start in range(0, n_rows, step):
        part = slice(start, start + step)
        z, p = rows[part], proba[:, part]
        outer = outers[: len(z)]
        # (Left to itself NumPy would lay it out by class, for a copy to be made of.)
        np.multiply((p * root[part]).T[:, :, None], z[:, None, :], out=outer)
        blas.dsyrk(-1.0, outer.reshape(len(z), size).T, beta=1.0, c=hessian, lower=1, overwrite_c=1)
        for k in range(n_outputs):
            by_class[k, :, k, :] += z.T @ ((p[k] * weight[part])[:, None] * z)


def sums_pairs(n_outputs, n_columns):
    """Return whether :func:`add_pairs` is faster than :func:`add_softmax_hessian`."""
    least = _PAIR_OUTPUTS_OF_FEW if n_columns <= _FEW_COLUMNS else _PAIR_OUTPUTS
    return n_outputs >= least


def hessian_cost(n_outputs, n_columns):
    """Return how many multiplications of a large matrix product a row's Hessian costs."""
    if sums_pairs(n_outputs, n_columns):
        return _n_pairs(n_outputs) * _n_pairs(n_columns) + _PAIR_COST * _n_pairs(n_columns)
    return (n_outputs * n_columns) ** 2 / 2 + 1.5 * n_outputs * n_columns**2


def add_pairs(rows, proba, weight, totals):
    """Add the same to a matrix with a row for each pair of classes, a column for each of features.

    The Hessian is symmetric in the classes as it is in the features. So it takes half the
    multiplications of one triangle, and a matrix product of long rows.

    Parameters
    ----------
    rows, proba, weight : ndarray
        As for :func:`add_softmax_hessian`.
    totals : ndarray of shape (n_outputs (n_outputs + 1) / 2, n_columns (n_columns + 1) / 2)
        Added to in place.
    """
    n_outputs = len(proba)
    n_rows = len(rows)
    step = _PAIRS_BYTES // (8 * totals.shape[1])
    step = min(max(step, _FEWEST_PAIR_ROWS), _MOST_PAIR_ROWS, max(n_rows, 1))
    features, classes = (np.empty((size, step)) for size in totals.T.shape)
    same = [_first_pair(k, n_outputs) for k in range(n_outputs)]
    for start in range(0, n_rows, step):
        part = slice(start, min(start + step, n_rows))
        n_taken = part.stop - start
        z, p = np.ascontiguousarray(rows[part].T), proba[:, part]
        _multiply_pairs(z, z, features[:, :n_taken])
        weighted = p * weight[part]
        _multiply_pairs(-weighted, p, classes[:, :n_taken])
        classes[same, :n_taken] += weighted
        totals += classes[:, :n_taken] @ features[:, :n_taken].T


def _multiply_pairs(left, right, products):
    """Set the products of each row of ``left`` with those of ``right`` from it on."""
    n = len(left)
    for k in range(n):
        first = _first_pair(k, n)
        np.multiply(left[k], right[k:], out=products[first : first + n - k])


def _first_pair(k, n):
    """Return the position of the pair (k, k) among the pairs of n, which are in order."""
    return k * n - k * (k - 1) // 2


def _n_pairs(n):
    return n * (n + 1) // 2


def unpack_pairs(totals, n_outputs, n_columns):
    """Return the Hessian for the totals of pairs: its lower triangle, in Fortran order."""
    size = n_outputs * n_columns
    hessian = np.zeros((size, size), order="F")
    by_class = hessian.T.reshape(n_outputs, n_columns, n_outputs, n_columns)
    upper = np.triu_indices(n_columns)
    block = np.empty((n_columns, n_columns))
    pairs = iter(totals)
    for k in range(n_outputs):
        for other in range(k, n_outputs):
            block[upper] = block.T[upper] = next(pairs)
            by_class[k, :, other, :] = block
    return hessian


def _add_foreign_hessian(rows, proba, weight, hessian):
    """Do the same for arrays of other libraries: all of the Hessian, a part of the rows at once."""
    xp = _arrays.namespace(rows)
    n_outputs, n_columns = proba.shape[0], rows.shape[1]
    size = n_outputs * n_columns
    by_class = xp.reshape(hessian, (n_outputs, n_columns, n_outputs, n_columns))
    step = max(_OUTER_ROWS, _FOREIGN_OUTER_BYTES // (8 * size))
    for start in range(0, rows.shape[0], step):
        part = slice(start, min(start + step, rows.shape[0]))
        z, p, w = rows[part, :], proba[:, part], weight[part]
        outer = (p * xp.sqrt(w)).T[:, :, None] * z[:, None, :]
        outer = xp.reshape(outer, (z.shape[0], size))
        hessian -= outer.T @ outer
        for k in range(n_outputs):
            by_class[k, :, k, :] += z.T @ ((p[k, :] * w)[:, None] * z)


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
