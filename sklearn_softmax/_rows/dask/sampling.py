"""Random samples of the rows of a Dask collection, by how important each is."""

import functools

import numpy as np

from ..._arrays import native
from . import graphs, tasks


class DaskSampler:
    """Draws rows as :class:`RowSampler` does from all of them in memory.

    Parameters
    ----------
    rows : DaskRows
        The rows.
    importance : object
        As for :meth:`RowBlocks.sampler`.
    """

    def __init__(self, rows, importance):
        self._rows = rows
        everywhere = range(rows.n_parts)
        importance = graphs.Shared(importance)
        # (The importance of each row stays where the row is.)
        self._values = graphs.persist(*rows.calls(tasks.importance, everywhere, importance))
        self._mean = sum(graphs.run(*graphs.each(np.sum, self._values))) / rows.n_weighted
        mean = graphs.Shared(self._mean)
        self._ends = np.cumsum(rows.call(tasks.sampled_total, everywhere, self._values, mean))

    @property
    def total(self):
        """The end of the interval to draw from."""
        return self._ends[-1]

    def draw(self, positions):
        """Return rows and what each shall weigh; as :meth:`RowSampler.draw`."""
        owners = np.minimum(np.searchsorted(self._ends, positions, "right"), len(self._ends) - 1)
        numbers = np.unique(owners)
        starts = np.append(0.0, self._ends)
        places = [positions[owners == number] - starts[number] for number in numbers]
        values = [self._values[number] for number in numbers]
        drawn = self._rows.call(tasks.draw, numbers, values, graphs.Shared(self._mean), places)
        parts, weights = zip(*drawn, strict=True)
        return functools.partial(native.take_rows, tasks.stacked(parts)), np.concatenate(weights)
