"""Rows as the scaled parameters see them: samples of them, their norms.

Models of the curvature are made of these; see :mod:`sklearn_softmax._curvature.choice`.
"""

import functools
import weakref

import numpy as np

from .._arrays import native, portable
from .._rows.sums import SquaredNorm, with_reference
from ..functional import softmax

# Rows of a sample for which temporary arrays are made at once.
PART_ROWS = 256


class ScaledRows:
    """The rows of an objective, centred and scaled, with a 1 for the intercept.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its blocks, its scaling and the layout of its parameters.
    """

    def __init__(self, objective):
        # (An objective has its rows: no cycle shall keep X longer than the fit.)
        self._objective = weakref.proxy(objective)
        self._blocks = objective.blocks
        self._scaling = objective.scaling

    @functools.cached_property
    def _sampler(self):
        """Draws rows half by weight, half by weight times squared norm.

        Rows far from the mean are rare and hold much of the curvature. A sample that misses
        them promises steps several times too long; drawing by the squared norm as well
        bounds the error (Xu et al., "Sub-sampled Newton methods with non-uniform sampling",
        NeurIPS 2016).
        """
        return self._blocks.sampler(self._squared_norm)

    @property
    def _squared_norm(self):
        scaling = self._scaling
        return SquaredNorm(scaling.center, scaling.scale, scaling.is_trivial)

    def squared_norms(self):
        """Return that of each row, (n_rows,)."""
        return self._blocks.importances(self._squared_norm)

    def sample(self, n_rows, rng):
        """Draw rows of positive weight.

        All of them are taken, in order, if as many rows as there are are asked for.

        Parameters
        ----------
        n_rows : int
            Size of the sample.
        rng : numpy.random.Generator
            Draws it, with replacement.

        Returns
        -------
        RowSample
        """
        blocks = self._blocks
        if n_rows >= blocks.n_rows:
            take, weight = blocks.take_parts()
        else:
            positions = np.sort(rng.random(n_rows)) * self._sampler.total
            take, weight = self._sampler.draw(positions)
        weight = weight / portable.namespace(weight).sum(weight)
        return RowSample(lambda part: self._scaled(take(part)), weight)

    def of_block(self, block):
        """Return a block of rows as a dense matrix of scaled features, and ones."""
        return self._scaled(block.X)

    def _scaled(self, X):
        return scaled_rows(X, self._scaling, self._objective.fit_intercept)

    def sample_proba(self, vector, rows):
        """Return the probabilities (n_classes, n_rows) of rows drawn by :meth:`sample`."""
        matrix, rows = self._objective.unpack(vector), portable.cast(rows, np.float64)
        return softmax(with_reference(matrix @ rows.T), axis=0)


class RowSample:
    """Some rows as the scaled parameters see them, made when they are asked for.

    Parameters
    ----------
    take : callable
        Returns a slice of them as a dense matrix in float64.
    weight : ndarray of shape (n_rows,)
        Sums to 1: weighted means over the sample estimate those over all rows.
    """

    def __init__(self, take, weight):
        self.weight = weight
        self.n_rows = weight.shape[0]
        self._take = take

    def at_once(self):
        """Return all rows in one matrix, (n_rows, n_columns), and their weights."""
        return self._take(slice(0, self.n_rows)), self.weight

    def parts(self):
        """Yield slices of the sample, each with the matrix of those rows."""
        for part in slices(0, self.n_rows, PART_ROWS):
            yield part, self._take(part)


def slices(start, stop, size):
    """Yield slices that together make ``start:stop``."""
    return (slice(low, min(low + size, stop)) for low in range(start, stop, size))


def scaled_rows(X, scaling, fit_intercept):
    """Return rows as a dense matrix of scaled features, with ones if there is an intercept."""
    X = native.as_dense(X)
    n_rows, n_features = X.shape
    rows = portable.empty((n_rows, n_features + fit_intercept), X, np.float64)
    if isinstance(X, np.ndarray):
        np.subtract(X, scaling.center, out=rows[:, :n_features])
    else:
        rows[:, :n_features] = X - scaling.center
    rows[:, :n_features] /= scaling.scale
    if fit_intercept:
        rows[:, -1] = 1.0
    return rows
