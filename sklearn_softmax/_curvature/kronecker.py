"""A model of the Hessian for many parameters: Kronecker factors."""

import functools

import numpy as np

from .._arrays.portable import (
    as_like,
    at_least,
    cast,
    diagonal_matrix,
    empty,
    namespace,
    to_numpy,
)
from .._objective.scaled_rows import PART_ROWS, slices
from .._rows.blocks import spare_bytes
from .._rows.sums import with_reference
from ..functional import softmax
from .axes import LEAST_VARIANCE, principal_axes

# Rows of a sample for each column.
ROWS_PER_COLUMN = 5
# What the rows of a Kronecker model's sample may take (bytes; a tenth of X if larger).
_SAMPLE_BYTES = 64 << 20
# Relative to 1, the variance of a scaled feature: where the penalty is below this, the
# Kronecker basis need not diagonalise it.
_BASIS_RIDGE = 1e-6


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
        self._features, self._is_complete = principal_axes(sample, self._metric)
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
