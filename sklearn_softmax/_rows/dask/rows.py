"""Rows of a Dask collection: what is summed over them is summed where they are.

A sum (:mod:`sklearn_softmax._rows.sums`) is a value, so it travels as one task to every partition.
There the rows are a :class:`RowBlocks`. A tree adds up the totals on their way back. Dask decides
what runs where, and computes again what a lost worker took with it.
"""

import copy
import functools
from dataclasses import dataclass

import numpy as np
from dask.delayed import Delayed

from ..blas_threads import OneBlasThread
from ..blocks import RowBlocks
from ..stored_rows import Block
from . import graphs, tasks
from .sampling import DaskSampler

# Rows that show scales and curvature.
_SHOWN_ROWS = 8192


@dataclass
class _Order:
    """An order of the rows: of the partitions, and a seed for the rows within each."""

    parts: np.ndarray
    seeds: list
    shown: np.ndarray


class DaskRows:
    """What :class:`RowBlocks` is, for rows in the partitions of a Dask collection.

    Parameters
    ----------
    data : DaskData
    n_jobs : int or None
        Number of threads for each partition, besides those that a worker has tasks for; None
        for 1.
    """

    is_in_memory = False
    is_local = False
    is_numpy = True
    sample = np.empty(0)
    sparse_share = origin = None

    def __init__(self, data, n_jobs=None):
        self.n_rows = int(data.lengths.sum())
        self.n_features, self.n_stored = data.n_features, data.n_stored
        self.n_classes = len(data.classes)
        self.dtype, self.stored_dtype = data.dtype, data.stored_dtype
        self.is_sparse, self.has_labels = data.is_sparse, data.has_labels
        self.total_weight, self.n_weighted = data.total_weight, data.n_weighted
        # (Of a first look at rows; each partition has blocks of its own.)
        self.block_rows = min(self.n_rows, 512)
        self.n_parts = len(data.parts)
        self._parts = data.parts
        self._numbers = data.numbers.tolist()
        self._ends = np.cumsum(data.lengths)
        self._options = {
            "n_features": data.n_features,
            "n_classes": self.n_classes,
            "class_weight": data.class_weight,
            "n_jobs": n_jobs or 1,
            "dtype": self.dtype,
            "origin": None,
            "is_sparse": data.is_sparse,
        }

    def __enter__(self):
        # (BLAS threads of the client would spin on the cores where a worker computes.)
        self._stay = OneBlasThread()
        self._stay.enter()
        return self

    def __exit__(self, *exc_info):
        self._stay.leave()

    def recast(self, dtype, origin=None):
        """Return the same rows in another dtype; as :meth:`RowBlocks.recast`."""
        other = copy.copy(self)
        other.dtype, other.origin = np.dtype(dtype), self.origin if origin is None else origin
        other._options = {**self._options, "dtype": other.dtype, "origin": other.origin}
        return other

    def place(self, values):
        """Return a NumPy array where sums with the rows end up."""
        return values

    @property
    def mean_weight(self):
        """Mean weight of the rows that have one."""
        return self.total_weight / self.n_weighted

    def set_weight(self, weight):
        """Give the rows other weights, (n_samples,)."""
        pieces = np.split(weight, self._ends[:-1])
        self._parts = [(X, y, piece) for (X, y, _), piece in zip(self._parts, pieces, strict=True)]
        self.total_weight = float(weight.sum())
        self.n_weighted = np.count_nonzero(weight)

    # Sums ------------------------------------------------------------------------------

    def calls(self, function, numbers, *arguments):
        """Return a graph of calls of a function of the rows of some partitions, and their keys.

        Parameters
        ----------
        function : callable
            ``function(rows, *arguments)``, where ``rows`` are those of a partition.
        numbers : sequence of int
            The partitions, as positions among those that have rows.
        *arguments
            As for :func:`sklearn_softmax._rows.dask.graphs.each`.
        """
        X, y, weight = map(list, zip(*(self._parts[number] for number in numbers), strict=True))
        return graphs.each(
            functools.partial(tasks.call, function),
            [self._numbers[number] for number in numbers],
            graphs.Shared(self._options),
            X,
            y,
            weight,
            *arguments,
            known=self._graph,
            name=function.__name__,
        )

    def call(self, function, numbers, *arguments):
        """Return what such calls return."""
        return graphs.run(*self.calls(function, numbers, *arguments))

    @functools.cached_property
    def _graph(self):
        """What the partitions are made from, as one graph."""
        items = (item for part in self._parts for item in part)
        return graphs.merged(item for item in items if isinstance(item, Delayed))

    def accumulate(self, row_sum):
        """Sum a function over all rows; as :meth:`RowBlocks.accumulate`."""
        everywhere = range(self.n_parts)
        graph, keys = self.calls(tasks.accumulate, everywhere, graphs.Shared(row_sum))
        return _added(graphs.run(graph, graphs.tree(tasks.add, graph, keys)))

    def accumulate_at(self, index, weight, row_sum):
        """Sum over the rows at ``index`` alone, with weights of their own (None: all 1)."""
        numbers, places, pieces = self._locate(index)
        weights = [None if weight is None else weight[piece] for piece in pieces]
        row_sum = graphs.Shared(row_sum)
        return _added(self.call(tasks.accumulate_at, numbers, places, weights, row_sum))

    def _locate(self, index):
        """Return partitions, positions in each of them, and where in ``index`` those are."""
        owners = np.searchsorted(self._ends, index, side="right")
        numbers = np.unique(owners)
        pieces = [np.flatnonzero(owners == number) for number in numbers]
        starts = np.append(0, self._ends)
        places = [index[p] - starts[n] for n, p in zip(numbers, pieces, strict=True)]
        return numbers, places, pieces

    def share(self, run, n_items, work, step=1):
        """Work on ``n_items`` that the client has; as :meth:`RowBlocks.share`."""
        return [run(0, n_items)]

    # Some rows -------------------------------------------------------------------------

    def take(self, index):
        """Return the rows at ``index``, an array or a slice, as a block in memory."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(self.n_rows))
        numbers, places, pieces = self._locate(index)
        blocks = self.call(tasks.take, numbers, places)
        return _in_order(_joined(blocks), np.argsort(np.concatenate(pieces), kind="stable"))

    def take_parts(self):
        """Return what takes a slice of the rows of X, and their weights: all are in memory."""
        return self.take(slice(0, self.n_rows)).take_parts()

    def head(self, n_rows):
        """Return the first rows, in memory, to take scales from."""
        block = self.take(slice(0, min(n_rows, self.n_rows)))
        return RowBlocks(block.X, None, block.weight, n_classes=self.n_classes, n_jobs=1)

    def sampler(self, importance):
        """Return what draws rows; as :meth:`RowBlocks.sampler`."""
        return DaskSampler(self, importance)

    # SGD -------------------------------------------------------------------------------

    def order(self, rng=None):
        """Return an order of the rows: partitions are shuffled, and the rows in each."""
        n_parts, n_shown = len(self._parts), min(self.n_rows, _SHOWN_ROWS)
        if rng is None:
            return _Order(np.arange(n_parts), [None] * n_parts, np.arange(n_shown))
        seeds = rng.integers(np.iinfo(np.int64).max, size=n_parts).tolist()
        shown = rng.choice(self.n_rows, n_shown, replace=False)
        return _Order(rng.permutation(n_parts), seeds, shown)

    def leading(self, order):
        """Return some rows that show what those of an order are like."""
        return order.shown

    def walk(self, order, step, carry):
        """Return ``step(rows, carry, order)`` of one partition after another.

        Each runs where its partition is; ``carry`` goes from one to the next.
        """
        seeds = [order.seeds[number] for number in order.parts]
        step, mean_weight = graphs.Shared(step), graphs.Shared(self.mean_weight)
        carries = [carry] + [graphs.PREVIOUS] * (self.n_parts - 1)
        graph, keys = self.calls(tasks.walk, order.parts, step, carries, seeds, mean_weight)
        (carry,) = graphs.run(graph, keys[-1:])
        return carry


def _added(parts):
    """Return the sums of tuples of arrays, in new ones (what was sent is read-only)."""
    return tuple(np.array(total, order="K") for total in tasks.add(parts))


def _joined(blocks):
    """Return blocks, the one after the other, as one."""
    X = tasks.stacked([block.X for block in blocks])
    has_targets = blocks[0].y is not None
    y = np.concatenate([block.y for block in blocks], axis=-1) if has_targets else None
    is_weighted = any(block.weight is not None for block in blocks)
    return Block(X, y, np.concatenate([b.row_weights for b in blocks]) if is_weighted else None)


def _in_order(block, index):
    X, y, weight = block
    return Block(
        X[index], None if y is None else y[..., index], None if weight is None else weight[index]
    )
