"""Models of the Hessian by its diagonal: for sparse features, and for L1 penalties."""

from typing import Any

import numpy as np

from .._arrays.portable import at_least, cast, namespace
from .._rows.sums import spread

_EPSILON = float(np.finfo(float).eps)
# Rows of the sample of dense X. Each entry of the diagonal is a mean of numbers that are not
# negative, which so many rows show whatever the number of columns.
_SAMPLE_ROWS = 4096


class _Diagonal:
    """A model of the Hessian that is a diagonal, of which the inverse is kept."""

    _inverse: Any

    def solve(self, gradient, free=None):
        """Return the gradient divided by the diagonal; 0 outside of the mask ``free``."""
        step = gradient * self._inverse
        return step if free is None else step * cast(free, np.float64)


class DiagonalCurvature(_Diagonal):
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
            self._sample = objective.rows.sample(_SAMPLE_ROWS, rng)
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


class LargestCurvature(_Diagonal):
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
