"""Random samples of rows, by how important each is."""

import weakref

import numpy as np

from .._arrays import portable


class RowSampler:
    """Draws rows by the inverse of their cumulative probability.

    Parameters
    ----------
    blocks : RowBlocks
        The rows.
    importance : ndarray of shape (n_rows,)
        Changed in place.
    mean : float
        Mean importance, of these rows and of any others beside them.
    """

    def __init__(self, blocks, importance, mean):
        importance *= 0.5 / max(mean, np.finfo(float).tiny)
        importance += 0.5
        if blocks.weight is not None:
            importance *= portable.to_numpy(blocks.weight)
        self._blocks = weakref.proxy(blocks)
        self._cumulative = np.cumsum(importance)

    @property
    def total(self):
        """The end of the interval to draw from."""
        return self._cumulative[-1]

    def draw(self, positions):
        """Return a function that takes a slice of the rows drawn, and the weights of those.

        The positions that draw them are sorted, in [0, total).
        """
        cumulative = self._cumulative
        positions = np.minimum(positions, np.nextafter(cumulative[-1], 0.0))  # not rounded up
        index = np.searchsorted(cumulative, positions, side="right")
        chance = cumulative[index] - np.where(index > 0, cumulative[index - 1], 0.0)
        take, weight = self._blocks.take_parts(index)
        return take, weight / portable.as_like(chance, weight)
