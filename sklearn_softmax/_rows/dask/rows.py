"""Rows of a Dask collection: what is summed over them is summed where they are.

This module and :mod:`sklearn_softmax._rows.dask.data` are imported where X is a Dask collection. A
sum (:mod:`sklearn_softmax._rows.sums`) is a value, so it travels as one task to every partition.
There the rows are a :class:`RowBlocks`. A tree adds up the totals on their way back. Dask decides
what runs where, and computes again what a lost worker took with it.
"""

import copy
import functools
import time
import uuid
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import scipy.sparse as sp
from dask import threaded
from dask.base import get_scheduler
from dask.delayed import delayed

from ..._arrays import native, portable
from ..blas_threads import OneBlasThread
from ..blocks import RowBlocks
from ..stored_rows import Block
from . import tasks

# Totals that one task adds up.
_TREE_WIDTH = 8
# How long a cluster may be without a worker (seconds); how often to look.
_PATIENCE = 10.0
_INTERVAL = 1.0
# States of a client that something can be computed with; also while it connects again.
_OPEN = ("running", "connecting")
# Rows that show scales and curvature.
_SHOWN_ROWS = 8192


@dataclass
class DaskData:
    """Checked training data, as :class:`sklearn_softmax._validation.TrainingData` in partitions.

    Attributes
    ----------
    parts : list of tuple
        For each partition its X, and its targets and weights (or None), delayed; what is made
        of labels and weights is kept where it was computed.
    numbers : ndarray of int
        Which partition of X each is: those without rows are left out.
    lengths : ndarray of int
        The number of rows of each.
    n_features : int
    stored_dtype : dtype
        Of X.
    n_stored : int
        Number of entries of X that a product has to touch.
    is_sparse : bool
        Whether any partition is; then the others are made so.
    classes : ndarray of shape (n_classes,)
    has_labels : bool
        Whether y is class codes.
    class_weight : ndarray of shape (n_classes,) or None
    total_weight : float
    n_weighted : int
        The number of rows of positive weight.
    """

    parts: list
    numbers: np.ndarray
    lengths: np.ndarray
    n_features: int
    stored_dtype: np.dtype
    n_stored: int
    is_sparse: bool
    classes: Any = None
    has_labels: bool = True
    class_weight: Any = None
    total_weight: float = 0.0
    n_weighted: int = 0

    @property
    def dtype(self):
        """The dtype that X is computed in."""
        return portable.float_dtype(self.stored_dtype)

    @property
    def strata(self):
        """The most probable class of each row: an array in memory."""
        return np.concatenate(compute([delayed(tasks.most_probable)(y) for _, y, _ in self.parts]))

    @property
    def weight(self):
        """The weight of each row, in memory; None where all are 1."""
        if any(weight is None for _, _, weight in self.parts):
            return None
        return np.concatenate(compute([weight for _, _, weight in self.parts]))

    def check_finite(self, estimator=None, parts=None):
        """Raise an error if X holds NaN or infinity, and say in which partition.

        ``parts`` are the positions of those to search; None for all.
        """
        parts = range(len(self.parts)) if parts is None else parts
        if len(parts):
            compute(self.rows(1)._apply(tasks.refuse_if_not_finite, parts))

    def rows(self, n_jobs):
        """Return the rows, to be summed over with so many threads for each partition."""
        return DaskRows(self, n_jobs)


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
        self.block_rows = min(self.n_rows, 512)
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
        # (BLAS threads of the client would spin where a worker computes.)
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
        self._parts = [
            (X, y, delayed(piece, traverse=False))
            for (X, y, _), piece in zip(self._parts, pieces, strict=True)
        ]
        vars(self).pop("_graph", None)
        self.total_weight = float(weight.sum())
        self.n_weighted = np.count_nonzero(weight)

    # Sums ------------------------------------------------------------------------------

    def _apply(self, function, numbers, *arguments):
        """Return, delayed, the results of a function of the rows of some partitions.

        ``arguments`` are lists, with one for each of those, or delayed values for all.
        """
        call = delayed(tasks.call, pure=False)
        return [
            call(
                function,
                self._numbers[number],
                self._options,
                *self._parts[number],
                *(item[i] if isinstance(item, list) else item for item in arguments),
            )
            for i, number in enumerate(numbers)
        ]

    def _apply_to_all(self, function, *arguments):
        return self._apply(function, range(len(self._parts)), *arguments)

    def accumulate(self, row_sum):
        """Sum a function over all rows; as :meth:`RowBlocks.accumulate`."""
        # (One layer of plain tasks: this runs at every iteration, and each step between tasks takes
        # a scheduler milliseconds.)
        name = f"softmax-sum-{uuid.uuid4().hex}"
        graph = dict(self._graph)
        sent: Any = tasks.Value(row_sum)
        if len(self._parts) > _TREE_WIDTH:
            graph[name], sent = sent, name
        for number, part in enumerate(self._parts):
            places = [self._place(item) for item in part]
            graph[name, number] = (
                tasks.add_here,
                self._numbers[number],
                tasks.Value(self._options),
                *places,
                sent,
            )
        keys: list = [(name, number) for number in range(len(self._parts))]
        level = 0
        while len(keys) > _TREE_WIDTH:
            groups = [keys[i : i + _TREE_WIDTH] for i in range(0, len(keys), _TREE_WIDTH)]
            level -= 1
            keys = [(name, level, i) for i in range(len(groups))]
            graph.update({key: (tasks.add, group) for key, group in zip(keys, groups, strict=True)})
        return _added(_run(graph, keys))

    def _place(self, item):
        """Return how a task refers to an item of a partition: by its future, or its key."""
        if item is None:
            return None
        value = self._graph[item.key]
        return value if is_future(value) else item.key

    @functools.cached_property
    def _graph(self):
        """What the partitions are made from, as one graph."""
        return _merged(item for part in self._parts for item in part if item is not None)

    def accumulate_at(self, index, weight, row_sum):
        """Sum over the rows at ``index`` alone, with weights of their own (None: all 1)."""
        numbers, places, pieces = self._locate(index)
        weights = [None if weight is None else weight[piece] for piece in pieces]
        sent = delayed(row_sum, pure=False, traverse=False)
        return _added(compute(self._apply(tasks.accumulate_at, numbers, places, weights, sent)))

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
        blocks = compute(self._apply(tasks.take, numbers, places))
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
        return _DaskSampler(self, importance)

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
        carry = delayed(carry, pure=False, traverse=False)
        step = delayed(step, pure=False, traverse=False)
        for number in order.parts:
            (carry,) = self._apply(
                tasks.walk, [number], step, carry, order.seeds[number], self.mean_weight
            )
        (carry,) = compute([carry])
        return carry


class _DaskSampler:
    """Draws rows as :class:`RowSampler` does from all of them in memory."""

    def __init__(self, rows, importance):
        self._rows = rows
        values = dask.persist(
            *rows._apply_to_all(tasks.importance, delayed(importance, traverse=False))
        )
        self._values = list(values)
        sums = compute([delayed(np.sum)(part) for part in values])
        self._mean = sum(sums) / rows.n_weighted
        totals = compute(rows._apply_to_all(tasks.sampled_total, self._values, self._mean))
        self._ends = np.cumsum(totals)

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
        drawn = compute(self._rows._apply(tasks.draw, numbers, values, self._mean, places))
        parts, weights = zip(*drawn, strict=True)
        return functools.partial(native.take_rows, _stacked(parts)), np.concatenate(weights)


# On the client -----------------------------------------------------------------------------


def _added(parts):
    """Return the sums of tuples of arrays, in new ones (what was sent is read-only)."""
    return tuple(np.array(total, order="K") for total in tasks.add(parts))


def _stacked(parts):
    """Return rows, the one after the other, in one array or CSR matrix."""
    return sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)


def _joined(blocks):
    """Return blocks, the one after the other, as one."""
    X = _stacked([block.X for block in blocks])
    has_targets = blocks[0].y is not None
    y = np.concatenate([block.y for block in blocks], axis=-1) if has_targets else None
    is_weighted = any(block.weight is not None for block in blocks)
    return Block(X, y, np.concatenate([b.row_weights for b in blocks]) if is_weighted else None)


def _in_order(block, index):
    X, y, weight = block
    return Block(
        X[index], None if y is None else y[..., index], None if weight is None else weight[index]
    )


def is_future(value):
    """Return whether something stands for a result at a worker."""
    return hasattr(value, "add_done_callback")


def compute(tasks):
    """Return the results of delayed tasks."""
    tasks = list(tasks)
    return _run(_merged(tasks), [task.key for task in tasks])


def _merged(tasks):
    """Return the graphs of delayed tasks as one; many share theirs."""
    graphs = [task.dask for task in tasks]
    distinct = {id(graph): graph for graph in graphs}.values()
    return {key: task for graph in distinct for key, task in dict(graph).items()}


def _run(graph, keys):
    """Return the values of some keys; an error if there is nobody left to compute them."""
    scheduler = get_scheduler() or threaded.get
    client: Any = getattr(scheduler, "__self__", None)
    if not hasattr(client, "scheduler_info"):
        if any(is_future(value) for value in graph.values()):
            raise RuntimeError(
                "X, y or their weights are results at the workers of a Dask client that has been "
                "closed: nothing can be computed of them."
            )
        return list(scheduler(graph, keys))
    futures: list = []
    try:
        futures = client.get(graph, keys, sync=False)
        _wait(client, futures)
        return client.gather(futures)
    except BaseException as error:
        if client.status in _OPEN:
            client.cancel(futures)
            raise
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise RuntimeError(
            "The Dask client was closed while something was computed with it (its status is "
            f"{client.status!r})."
        ) from error


def _wait(client, futures):
    from distributed import wait

    last_seen = time.monotonic()
    while True:
        try:
            wait(futures, timeout=_INTERVAL)
        except TimeoutError:
            if client.status not in _OPEN:
                raise
            if client.nthreads():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > _PATIENCE:
                raise RuntimeError(
                    "The Dask cluster has had no worker for "
                    f"{_PATIENCE:.0f} seconds: nothing is left to compute with."
                ) from None
        else:
            return
