"""Sums over rows that are cut into blocks, which threads share.

A block is small enough to stay in a core's cache between the two matrix products of a
gradient, so X is read from memory once, and no array of n_samples x n_classes ever exists.
"""

import functools

import numpy as np

from .._arrays import native
from . import block_size
from .reading import as_slice, fetched_ahead, is_range, slices
from .sampling import RowSampler
from .stored_rows import StoredRows
from .worker_threads import WorkerThreads, is_quick

# From so many multiplications on, compiled products of sparse rows repay loading: SciPy's are an
# order of magnitude slower than dense ones.
_COMPILED_SPARSE_WORK = 10_000_000


class RowBlocks(StoredRows):
    """Rows, and sums of functions of blocks of them.

    A context manager: within it, the sums run on several threads.

    Parameters
    ----------
    X, y, weight, n_classes, class_weight
        As for :class:`StoredRows`.
    n_jobs : int or None
        Number of threads; None for as many as BLAS may use at present, -1 for all cores.

    Notes
    -----
    What takes its place for rows elsewhere has the same methods: sums over all rows or some
    (``accumulate``, ``accumulate_at``, ``for_each``), some of the rows (``take``, ``take_parts``,
    ``head``, ``sampler``), their order and batches (``order``, ``leading``, ``batches``), and the
    same rows in another dtype or with other weights (``recast``, ``set_weight``,
    ``with_weight``). ``place`` says where arrays of parameters are, and ``share`` shares work
    on them among the threads. Rows in other processes (``is_local`` is False) have ``walk``, and
    neither ``batches``, ``for_each`` nor ``with_weight``.
    """

    # Whether blocks are the same whatever the number of threads, and so their rounding errors.
    _has_fixed_blocks = False

    def __init__(self, X, y=None, weight=None, *, n_jobs=None, **options):
        super().__init__(X, y, weight, **options)
        self.block_rows = block_size.block_rows(X, self.dtype, self.n_classes)
        self._threads = WorkerThreads(n_jobs)

    def __enter__(self):
        if self._replaces_blas_threads:
            self._threads.__enter__()
        return self

    def __exit__(self, *exc_info):
        self._threads.__exit__(*exc_info)

    @property
    def _replaces_blas_threads(self):
        # (The one small product of a prediction is left to them.)
        return self.y is not None or self._threads.n_jobs is not None or not self.is_quick

    def borrow_threads(self, other):
        """Work on the threads of other rows, within whose context this is."""
        self._threads = other._threads

    def share(self, run, n_items, work, step=1):
        """Share items out among the threads; as :meth:`WorkerThreads.share`."""
        return self._threads.share(run, n_items, work, step)

    @property
    def is_quick(self):
        """Whether a sum over all rows is over before a second thread has woken up."""
        return is_quick(self.n_stored * self.n_classes)

    def recast(self, dtype, origin=None):
        """Return the same rows, for products in another dtype; as :meth:`StoredRows.recast`."""
        other = super().recast(dtype, origin)
        other.block_rows = block_size.block_rows(self.X, other.dtype, self.n_classes)
        return other

    def in_float32(self):
        """Return the same rows, for products in float32; within the context of these."""
        other = self.recast(np.float32)
        other._has_fixed_blocks = True
        return other

    def head(self, n_rows):
        """Return the rows up to the ``n_rows``-th of positive weight, as rows of their own."""
        stop = int(self.order()[:n_rows][-1]) + 1
        options = {"n_classes": self.n_classes, "class_weight": self.class_weight, "n_jobs": 1}
        return RowBlocks(*self._take_stored(slice(0, stop)), **options)

    def batches(self, size, order, *, is_compiled=False):
        """Yield rows, ``size`` at a time.

        Parameters
        ----------
        size : int
            Rows a batch; the last one may have fewer.
        order : ndarray of int
            Their positions, as :meth:`order` gives them.
        is_compiled : bool, default=False
            As for :meth:`accumulate`.

        Yields
        ------
        batch : Block
        weight : float
            The sum of the weights of its rows.
        """
        starts = range(0, len(order), size)
        parts = [as_slice(order[start : start + size]) for start in starts]
        fetch = self._take_stored if is_compiled else self.take
        is_view = (is_compiled or self.stored_dtype == self.dtype) and is_range(order)
        is_small = self.is_sparse or is_quick(self.n_stored)
        if self._threads.n_threads == 1 or is_view or is_small:
            batches = map(fetch, parts)
        else:
            batches = fetched_ahead(self._threads.pool, fetch, parts)
        for part, batch in zip(parts, batches, strict=True):
            yield batch, self._weight_at(part, batch.X.shape[0])

    def _weight_at(self, index, n_rows):
        """Return the weight of the ``n_rows`` rows at ``index``."""
        weight = self.host_weight
        return float(n_rows if weight is None else np.sum(weight[index]))

    # Sums ------------------------------------------------------------------------------

    def accumulate(self, row_sum):
        """Sum a function over all rows.

        Parameters
        ----------
        row_sum : object
            ``row_sum.zeros()`` returns a tuple of arrays, to which ``row_sum.add(block, totals,
            share)`` adds what a block contributes. With ``row_sum.is_compiled`` it converts X
            itself, and needs no small blocks (for labels only); ``row_sum.block_rows`` is the
            size of the blocks, or None.

        Returns
        -------
        tuple of arrays
            The totals. The same number of threads adds in the same order: same bits.
        """
        share = self.sparse_share
        size = row_sum.block_rows or self.block_rows
        take = self._take_stored if row_sum.is_compiled else self.take
        if row_sum.is_compiled:
            size = max(size, block_size.MIN_COMPILED_ROWS)
        if self._has_fixed_blocks:
            size = block_size.even_size(self.n_rows, size)

        def run(start, stop):
            totals = row_sum.zeros()
            for index in slices(self.X, start, stop, size):
                row_sum.add(take(self._weighted(index)), totals, share)
            return totals

        return add_totals(self._map_rows(run, step=size if self._has_fixed_blocks else 1))

    def accumulate_at(self, index, weight, row_sum):
        """Sum over the rows at ``index`` alone, with weights of their own (None: all 1)."""
        totals = row_sum.zeros()
        for start in range(0, len(index), self.block_rows):
            part = slice(start, start + self.block_rows)
            part_weight = None if weight is None else self.place(weight[part])
            row_sum.add(self.take(index[part])._replace(weight=part_weight), totals)
        return totals

    def for_each(self, function):
        """Call ``function(index, block)`` for every block, on all threads.

        ``index`` are the positions of its rows: a slice, or an array of int.
        """

        def run(start, stop):
            for index in slices(self.X, start, stop, self.block_rows):
                index = self._weighted(index)
                function(index, self.take(index))

        self._map_rows(run)

    @functools.cached_property
    def sparse_share(self):
        """The function that shares compiled products of sparse rows; None for SciPy's products."""
        if not self.is_sparse or self.n_stored * self.n_classes < _COMPILED_SPARSE_WORK:
            return None
        return None if native.compiled_loops().add_sparse is None else self._threads.share

    def _map_rows(self, run, step=1):
        # SciPy's sparse products hold the interpreter lock: threads only get in the way. (And
        # compiled ones share each block among the threads.)
        if self.is_sparse:
            return [run(0, self.n_rows)]
        return self.share(run, self.n_rows, self.n_stored * self.n_classes, step)

    # Samples ---------------------------------------------------------------------------

    def sampler(self, importance):
        """Return a sampler that draws rows half by weight, half by weight times their importance.

        Parameters
        ----------
        importance : object
            ``importance.of(block)`` returns a number, not negative, for each row of a block.
        """
        values = self.importances(importance)
        return RowSampler(self, values, values.sum() / self.n_weighted)

    def importances(self, importance):
        """Return the importance of each row, (n_samples,), 0 for rows of weight 0.

        Parameters as for :meth:`sampler`.
        """
        values = np.zeros(self.n_rows)

        def fill(index, block):
            values[index] = importance.of(block)

        self.for_each(fill)
        return values


def are_dense_in_memory(rows):
    """Return whether rows are a NumPy array that is in this process, and not in parts."""
    return rows.is_local and rows.is_in_memory and rows.is_numpy and not rows.is_sparse


def spare_bytes(rows, least):
    """Return how many bytes may be taken beside X: a tenth of it in float64, or ``least``."""
    return max(least, rows.n_stored * 8 // 10)


def add_totals(parts):
    """Return the sums of tuples of arrays, added to the first of them."""
    parts = iter(parts)
    first = next(parts)
    for totals in parts:
        for total, part in zip(first, totals, strict=True):
            total += part
    return first
