"""Models of the Hessian for many parameters: Kronecker factors, and the diagonal."""

import functools
from typing import Any

import numpy as np

from .._arrays.portable import (
    as_like,
    at_least,
    cast,
    diagonal_matrix,
    empty,
    namespace,
    to_numpy,
    zeros,
)
from .._objective.scaled_rows import PART_ROWS, slices
from .._rows.blocks import spare_bytes
from .._rows.sums import spread, with_reference
from ..functional import softmax

_EPSILON = float(np.finfo(float).eps)
# Rows of a sample for each column; and for the diagonal, of which each entry is a mean of numbers
# that are not negative, as many as show it whatever the number of columns.
ROWS_PER_COLUMN = 5
_DIAGONAL_ROWS = 4096
# What the rows of a Kronecker model's sample may take (bytes; a tenth of X if larger).
_SAMPLE_BYTES = 64 << 20
# Relative to 1, the variance of a scaled feature: where the penalty is below this, the
# Kronecker basis need not diagonalise it.
_BASIS_RIDGE = 1e-6
# Relative to the largest, a variance along an axis below which it is rounding errors of the rows,
# and a gradient along it, too.
LEAST_VARIANCE = 1e-23
# Eigenvalues smaller than this, relative to the largest, are taken for 0.
_RANK_TOLERANCE = 1e-10


class KroneckerCurvature:
    r"""Exact variances in a Kronecker-factored basis [1]_ [2]_.

    The basis is :math:`U \otimes T`: U holds the eigenvectors of the mean class curvature
    :math:`\operatorname{diag}(p) - p p^\top`, and T diagonalises the features' covariance and
    the penalty together. In it, the diagonal of the Hessian is taken exactly (on the sample):
    the mean of :math:`[\sum_k U_{ki}^2 p_k - (\sum_k U_{ki} p_k)^2] (T^\top z)_j^2`. With
    fewer rows than columns T spans the rows, and what is orthogonal to them is left to the
    penalty.

    Of more classes than columns each is taken by itself, U = I: of many classes any two have
    little to do with each other, and then U would cost more than T.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its Hessian is modelled.
    n_rows : int
        Size of the sample.
    rng : numpy.random.Generator
        Draws the sample.

    References
    ----------
    .. [1] J. Martens, R. Grosse, "Optimizing neural networks with Kronecker-factored
       approximate curvature", ICML (2015).
    .. [2] T. George et al., "Fast approximate natural gradient descent in a Kronecker-factored
       eigenbasis", NeurIPS (2018).
    """

    def __init__(self, objective, n_rows, rng):
        self._objective = objective
        self._has_class_basis = 1 < objective.n_outputs <= objective.n_columns
        allowed = spare_bytes(objective.blocks, _SAMPLE_BYTES) // (4 * objective.n_columns)
        n_rows = min(n_rows, max(allowed, objective.n_columns))
        sample = objective.rows.sample(n_rows, rng)
        penalty = objective.l2_columns
        self._xp = xp = namespace(penalty)
        self._metric = 1.0 / xp.sqrt(penalty + _BASIS_RIDGE)
        self._features, self._is_complete = _principal_axes(sample, self._metric)
        self._features *= self._metric[:, None]
        # The basis needs all digits. Probabilities and variances, means of what is positive, do
        # not, and the sample is the largest thing that a fit keeps.
        self._rows = empty((sample.n_rows, self._features.shape[1]), penalty, np.float32)
        for part, rows in sample.parts():
            self._rows[part, :] = cast(rows @ self._features, np.float32)
        self._weight = sample.weight
        self._penalty = penalty @ self._features**2
        # Outside of the span only the penalty is left: 1 in this metric, unless it is tiny.
        self._rest_penalty = max(np.median(to_numpy(penalty * self._metric**2)), _BASIS_RIDGE)
        self.is_sampled = n_rows < objective.blocks.n_rows

    def renew(self, vector):
        """Take the class basis and the variances at ``vector``."""
        xp = self._xp
        matrix = (self._objective.unpack(vector) / self._metric**2) @ self._features
        matrix = cast(matrix, np.float32)
        self._classes = self._class_basis(matrix) if self._has_class_basis else None
        variances = self._sum_over_rows(functools.partial(self._variances_of, matrix))
        variances = variances + self._penalty
        self._variances = at_least(variances, LEAST_VARIANCE * xp.max(variances))
        if not self._is_complete:
            # Other rows than the sample's reach outside its span; there, expect as little
            # curvature as in the least direction within it.
            self._rest = as_like(np.full(variances.shape[0], self._rest_penalty), variances)
            if self.is_sampled:
                self._rest = xp.maximum(self._rest, xp.min(self._variances, axis=1))

    def _sum_over_rows(self, function):
        """Return the sum of ``function(rows, weight)`` over parts of the sample, on all threads.

        The parts do not depend on the number of threads, as they are rounded to float32.
        """

        def run(start, stop):
            parts = slices(start, stop, PART_ROWS)
            return sum(function(self._rows[part, :], self._weight[part]) for part in parts)

        n_rows, rank = self._rows.shape
        work = n_rows * rank * self._n_outputs
        return sum(self._objective.blocks.share(run, n_rows, work, step=PART_ROWS))

    def _proba(self, matrix, rows):
        return softmax(with_reference(cast(matrix @ rows.T, np.float64)), axis=0)

    def _class_basis(self, matrix):
        """Return the eigenvectors of the mean class curvature."""

        def covariance_of(rows, weight):
            proba = self._proba(matrix, rows)
            weighted = proba * weight
            return diagonal_matrix(self._xp.sum(weighted, axis=1)) - weighted @ proba.T

        # The first eigenvector is constant over the classes, where nothing changes.
        return self._xp.linalg.eigh(self._sum_over_rows(covariance_of))[1][:, 1:]

    def _variances_of(self, matrix, rows, weight):
        """Return what rows add to the variances."""
        proba = self._proba(matrix, rows)
        if self._classes is not None:
            spread = (self._classes**2).T @ proba - (self._classes.T @ proba) ** 2
        else:
            spread = (proba * (1.0 - proba))[-self._n_outputs :, :]
        spread = cast(at_least(spread, 0.0) * weight, np.float32)
        return cast(spread @ (rows * rows), np.float64)

    @property
    def _n_outputs(self):
        return self._objective.n_outputs

    def solve(self, gradient, free=None):
        """Return H0 times a flat gradient; for all parameters only."""
        step = self._objective.unpack(gradient)
        if self._classes is not None:
            step = self._classes @ self._solve_features(self._classes.T @ step)
        else:
            step = self._solve_features(step)
            if self._n_outputs > 1:  # what is constant over the classes changes nothing
                step -= self._xp.mean(step, axis=0)
        return self._objective.pack(step)

    def _solve_features(self, gradient):
        """Return H0 times a gradient whose rows are in the class basis, on all threads."""
        step = self._xp.empty_like(gradient)

        def run(start, stop):
            for part in slices(start, stop, PART_ROWS):
                inner = gradient[part, :] @ self._features
                step[part, :] = (inner / self._variances[part, :]) @ self._features.T
                if not self._is_complete:
                    rest = gradient[part, :] * self._metric**2 - inner @ self._features.T
                    step[part, :] += rest / self._rest[part, None]

        (n_rows, n_columns), rank = gradient.shape, self._features.shape[1]
        self._objective.blocks.share(run, n_rows, 2 * n_rows * n_columns * rank)
        return step


def _principal_axes(sample, metric):
    """Return the eigenvectors of the second moments of ``rows * metric``.

    And whether they span everything.
    """
    xp = namespace(metric)
    n_columns = metric.shape[0]
    if sample.n_rows >= n_columns:
        moments = zeros((n_columns, n_columns), metric)
        for part, rows in sample.parts():
            moments += rows.T @ (rows * sample.weight[part, None])
        moments *= metric * metric[:, None]
        if _is_diagonal(moments):
            return diagonal_matrix(xp.ones_like(metric)), True
        values, vectors = xp.linalg.eigh(moments)
        if float(values[0]) < _RANK_TOLERANCE * float(values[-1]):
            vectors = collinear_axes(sample, metric)[0]
        return vectors, True
    rows, weight = sample.at_once()
    rows = rows * metric * xp.sqrt(weight)[:, None]
    values, vectors = xp.linalg.eigh(rows @ rows.T)
    # (They ascend.)
    first = int(xp.sum(xp.astype(values <= _RANK_TOLERANCE * values[-1], xp.int64)))
    # The smallest come out with few digits; what is left beside the basis must be orthogonal.
    return xp.linalg.qr(rows.T @ (vectors[:, first:] / xp.sqrt(values[first:])))[0], False


def collinear_axes(sample, metric):
    """Return the principal axes of ``rows * metric``, and the rows' root mean squares along them.

    Second moments show directions in which the rows' share of the variance is above the rounding
    unit. The rows themselves, of which these are the singular vectors, show its square.
    """
    xp = namespace(metric)
    n_columns = metric.shape[0]
    triangle, waiting = None, []

    def reduced(triangle, waiting):
        stacked = xp.concat([*([] if triangle is None else [triangle]), *waiting], axis=0)
        return xp.linalg.qr(stacked)[1]

    for part, rows in sample.parts():
        waiting.append(rows * metric * xp.sqrt(sample.weight[part])[:, None])
        if sum(rows.shape[0] for rows in waiting) >= n_columns:
            triangle, waiting = reduced(triangle, waiting), []
    if waiting:
        triangle = reduced(triangle, waiting)
    _, sizes, vectors = xp.linalg.svd(triangle)
    sizes, missing = xp.zeros_like(metric), sizes
    sizes[: missing.shape[0]] = missing
    return vectors.T, sizes


def _is_diagonal(moments):
    """Return whether features are known not to be correlated, as principal components are."""
    if not isinstance(moments, np.ndarray):
        return False
    rest = moments - np.diag(np.diagonal(moments))
    return bool(np.abs(rest).max() <= _RANK_TOLERANCE * np.diagonal(moments).max())


class DiagonalCurvature:
    """The diagonal of the Hessian: exact for sparse X, on a sample of rows for dense X.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its Hessian is modelled.
    rng : numpy.random.Generator
        Draws the sample.
    """

    def __init__(self, objective, rng):
        self._objective = objective
        self._sample: Any = None
        if not objective.blocks.is_sparse:
            n_rows = min(ROWS_PER_COLUMN * objective.n_columns, _DIAGONAL_ROWS)
            self._sample = objective.rows.sample(n_rows, rng)
        # Where classes are told apart with certainty, p (1 - p) vanishes. What an entry could be
        # says how small it can become: the others say nothing of it.
        self._floor = _EPSILON * objective.largest_curvature

    def renew(self, vector):
        """Compute the diagonal at ``vector``."""
        objective = self._objective
        if self._sample is None:
            diagonal = objective.hessian_diagonal(vector)
        else:
            diagonal = objective.l2_columns + sum(
                self._variances_of(vector, part, rows) for part, rows in self._sample.parts()
            )
        self._inverse = objective.pack(1.0 / at_least(diagonal, self._floor))

    def _variances_of(self, vector, part, rows):
        """Return what some rows of the sample add to the diagonal."""
        variance = spread(self._objective.rows.sample_proba(vector, rows))
        return (variance[-self._objective.n_outputs :, :] * self._sample.weight[part]) @ rows**2

    def solve(self, gradient, free=None):
        """Return the gradient divided by the diagonal; 0 outside of the mask ``free``."""
        step = gradient * self._inverse
        return step if free is None else step * cast(free, np.float64)


class LargestCurvature:
    """The diagonal that the Hessian's can nowhere exceed, in place of a model that misleads.

    Parameters
    ----------
    objective : SoftmaxObjective
    """

    def __init__(self, objective):
        shape = (objective.n_outputs, objective.n_columns)
        bound = namespace(objective.largest_curvature).broadcast_to(
            objective.largest_curvature, shape
        )
        self._inverse = objective.pack(1.0 / bound)

    def renew(self, vector):
        """Do nothing: the bound is the same everywhere."""

    def solve(self, gradient, free=None):
        """Return the gradient divided by the diagonal; 0 outside of the mask ``free``."""
        step = gradient * self._inverse
        return step if free is None else step * cast(free, np.float64)
