"""Rows of X with their targets and weights, cut into blocks, and sums over the blocks.

A block is small enough to stay in a core's cache between the two matrix products of a
gradient, so X is read from memory once, and no array of n_samples x n_classes ever exists.
Here, and only here, is decided where the rows are and which thread works on them.
"""

import copy
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import joblib
import numpy as np

from .._arrays import native, portable
from .sampling import RowSampler
from .threads import OneBlasThread, limit_this_thread

# A block of X and its logits should share what a core has of the caches (bytes); in smaller ones
# threads mostly wait for the interpreter lock.
_CACHE_BYTES = 3 << 20
_MIN_BLOCK_ROWS = 512
_MAX_BLOCK_ROWS = 16384
# Logits of a sparse block for which memory is always worth its while (bytes).
_SPARSE_BYTES = 1 << 20
# Compiled loops take care of the cache themselves; calling them costs some microseconds.
_MIN_STORED_ROWS = 8192
# From so many multiplications on, compiled products of sparse rows repay loading: SciPy's are an
# order of magnitude slower than dense ones.
_COMPILED_SPARSE_WORK = 10_000_000
# Runs of rows of a file that are shuffled as one (bytes), and how many are mixed.
_RUN_BYTES = 1 << 20
_WINDOW_RUNS = 32
# How far a memory map is read ahead, twice over (bytes).
_AHEAD_BYTES = 8 << 20
# Sums with fewer multiplications than this are over before a second thread has woken up.
_MIN_THREAD_WORK = 2_000_000


class Block(NamedTuple):
    """Some rows: ``X`` in the float dtype, ``y`` and ``weight`` (or None) to match.

    ``y`` is an integer array of class codes (n_rows,), or class-major probabilities
    (n_classes, n_rows).
    """

    X: Any
    y: np.ndarray | None
    weight: np.ndarray | None

    @property
    def row_weights(self):
        """The weights, also where all are 1."""
        if self.weight is None:
            return portable.as_like(np.ones(self.X.shape[0]), self.X)
        return self.weight

    def take_parts(self):
        """Return what takes a slice of the rows of X, and their weights."""
        return functools.partial(native.take_rows, self.X), self.row_weights


class RowBlocks:
    """Rows, and sums of functions of blocks of them.

    A context manager: within it, the sums run on several threads.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Never copied or changed; integers are converted one block at a time.
    y : ndarray or None
        Class codes of shape (n_samples,), or probabilities of shape (n_samples, n_classes);
        None where there are only predictions to make.
    weight : ndarray of shape (n_samples,) or None
        The weight of each row, class weights included.
    n_classes : int
        Number of classes.
    class_weight : ndarray of shape (n_classes,) or None
        For probabilities only: a row with several possible classes stands for that many
        weighted rows, so class weights tilt its distribution. ``weight`` holds their mean.
    n_jobs : int or None
        Number of threads; None for as many as BLAS may use at present, -1 for all cores.
    """

    # Whether all rows are at hand at once; whether they are in this process.
    is_in_memory = True
    is_local = True
    # Whether blocks are the same whatever the number of threads, and so their rounding errors.
    _has_fixed_blocks = False

    def __init__(self, X, y=None, weight=None, *, n_classes, class_weight=None, n_jobs=None):
        self.X = X
        self.n_rows, self.n_features = X.shape
        self.y = y
        self.set_weight(weight)
        self.class_weight = class_weight
        self.n_classes = n_classes
        self.stored_dtype = portable.dtype_of(X)
        self.dtype = portable.float_dtype(self.stored_dtype)
        self.is_sparse = hasattr(X, "indptr")
        self._is_mapped = isinstance(X, np.ndarray) and native.is_in_file(X)
        self._n_jobs = n_jobs
        self.block_rows = self._choose_block_rows()
        self._n_threads = 1
        self._threads = None
        self._stay: OneBlasThread | None = None

    def borrow_threads(self, other):
        """Work on the threads of other rows, within whose context this is."""
        self._n_threads, self._threads = other._n_threads, other._thread_pool()

    def in_float32(self):
        """Return the same rows, for products in float32; within the context of these."""
        other = self.recast(np.float32)
        other._has_fixed_blocks = True
        return other

    def recast(self, dtype, origin=None):
        """Return the same rows, for products in another dtype; within the context of these.

        With an ``origin``, a NumPy array of shape (n_features,), it is subtracted from them first,
        in float64.
        """
        other = copy.copy(self)
        other.dtype = np.dtype(dtype)
        other.origin = self.origin if origin is None else self.place(origin)
        other.block_rows = other._choose_block_rows()
        other.borrow_threads(self)
        return other

    def __enter__(self):
        if not self._replaces_blas_threads:
            return self
        n_threads = None if self._n_jobs is None else joblib.effective_n_jobs(self._n_jobs)
        # Every thread works on rows of its own, so BLAS must not start threads as well. The
        # linear algebra between two sums is too small to gain from BLAS threads, and loses
        # much to them: NumPy's and SciPy's BLAS each keep a pool, whose threads spin.
        self._stay = OneBlasThread()
        n_threads_outside = self._stay.enter()
        self._n_threads = n_threads or n_threads_outside
        return self

    def __exit__(self, *exc_info):
        try:
            if self._threads is not None:
                self._threads.shutdown()
                self._threads = None
        finally:
            if self._stay is not None:
                self._stay.leave()

    @property
    def _replaces_blas_threads(self):
        # (The one small product of a prediction is left to them.)
        return self.y is not None or self._n_jobs is not None or not self.is_quick

    def set_weight(self, weight):
        """Give the rows other weights, a NumPy array of shape (n_samples,), or None."""
        self.weight = self._host_weight = weight
        is_zero = None if weight is None else weight == 0
        # Which rows blocks leave out; None for none.
        self._is_left_out = is_zero if is_zero is not None and is_zero.any() else None
        self.total_weight = float(self.n_rows if weight is None else np.sum(weight))
        self.n_weighted = self.n_rows if weight is None else np.count_nonzero(weight)
        # Of the rows that have a weight.
        self.mean_weight = float(self.total_weight / max(self.n_weighted, 1))

    def with_weight(self, weight, class_weight=None, *, leaves_out=False):
        """Return the same rows with other weights; within the context of these.

        Parameters
        ----------
        weight : ndarray of shape (n_samples,)
            Of these rows' weights, those of positive weight may become 0. They must be fit to be
            computed with: passing over them in every block would cost more than they do.
        class_weight : ndarray of shape (n_classes,) or None, default=None
            As for the class.
        leaves_out : bool, default=False
            Whether blocks pass over the rows whose weight becomes 0 all the same.
        """
        other = copy.copy(self)
        other.borrow_threads(self)
        other.set_weight(weight)
        other.class_weight = class_weight if class_weight is None else self.place(class_weight)
        if not leaves_out:
            other._is_left_out = self._is_left_out
        return other

    # What is subtracted from dense rows; None for nothing.
    origin: Any = None

    @property
    def host_weight(self):
        """The weight of each row as a NumPy array; None where all are 1."""
        return self._host_weight

    # Whether parameters and sums are NumPy arrays.
    is_numpy = True
    sample = np.empty(0)

    def place(self, values):
        """Return a NumPy array where sums with the rows are computed."""
        return values

    @property
    def has_labels(self):
        """Whether y is class codes."""
        return self.y is not None and self.y.ndim == 1

    @property
    def n_stored(self):
        """Number of entries of X that a product has to touch."""
        return native.stored_entries(self.X)

    @property
    def is_quick(self):
        """Whether a sum over all rows is over before a second thread has woken up."""
        return self.n_stored * self.n_classes < _MIN_THREAD_WORK

    def _choose_block_rows(self):
        if self.is_sparse:
            # A sparse block adds to a whole n_classes x n_features gradient; with as many
            # rows as there are features, its logits take no more memory than that does.
            affordable = _SPARSE_BYTES // (8 * self.n_classes)
            return max(self.n_features, affordable, _MIN_BLOCK_ROWS)
        row_bytes = self.dtype.itemsize * max(self.n_features, self.n_classes)
        return int(np.clip(_CACHE_BYTES // row_bytes, _MIN_BLOCK_ROWS, _MAX_BLOCK_ROWS))

    def indexed_blocks(self, start, stop):
        """Yield the blocks of rows ``start:stop`` in order, each with the positions of its rows."""
        for index in self._slices(start, stop, self.block_rows):
            index = self._weighted(index)
            yield index, self.take(index)

    def _weighted(self, index):
        """Return the positions in a slice without rows that are left out; positions as they are.

        A row of weight 0 may hold anything, and 0 times that need not be 0.
        """
        if not isinstance(index, slice) or self._is_left_out is None:
            return index
        kept = np.flatnonzero(~self._is_left_out[index])
        is_all = len(kept) == index.stop - index.start
        return index if is_all else index.start + kept

    def _slices(self, start, stop, size):
        stop = self.n_rows if stop is None else stop
        row_bytes = max(1, self.n_features * self.stored_dtype.itemsize)
        ahead = max(size, _AHEAD_BYTES // row_bytes)
        wanted = start
        for low in range(start, stop, size):
            if self._is_mapped and low + ahead > wanted:
                native.read_ahead(self.X, wanted, min(wanted + ahead, stop))
                wanted += ahead
            yield slice(low, min(low + size, stop))

    def order(self, rng=None):
        """Return the positions of the rows of positive weight, as they come or shuffled.

        Parameters
        ----------
        rng : numpy.random.Generator or None
            Draws their order; None leaves them as they come. Rows in a file are shuffled in two
            steps, so that the disk need not seek for each: short runs of them, and then the rows
            of as many runs as are read together.
        """
        rows = np.arange(self.n_rows) if self.weight is None else np.flatnonzero(self.weight)
        if rng is None:
            return rows
        run = self._choose_run_rows()
        n_runs = -(-len(rows) // run)
        if run == 1 or n_runs <= _WINDOW_RUNS:
            return rng.permutation(rows)
        runs = [rows[i * run : (i + 1) * run] for i in rng.permutation(n_runs)]
        windows = (runs[i : i + _WINDOW_RUNS] for i in range(0, n_runs, _WINDOW_RUNS))
        return np.concatenate([rng.permutation(np.concatenate(window)) for window in windows])

    def _choose_run_rows(self):
        """Return how many rows that lie together are to stay together in a shuffle."""
        if not native.is_in_file(self.X):
            return 1
        return max(1, _RUN_BYTES // max(1, self.n_features * self.stored_dtype.itemsize))

    def leading(self, order):
        """Return rows that show what those of an order are like: the first come first."""
        return order

    def head(self, n_rows):
        """Return the rows up to the ``n_rows``-th of positive weight, as rows of their own."""
        rows = self.order()
        stop = int(rows[:n_rows][-1]) + 1
        X, y, weight = self._take_stored(slice(0, stop))
        return RowBlocks(
            X, y, weight, n_classes=self.n_classes, class_weight=self.class_weight, n_jobs=1
        )

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
        parts = [_as_slice(order[start : start + size]) for start in starts]
        fetch = self._take_stored if is_compiled else self.take
        is_view = (is_compiled or self.stored_dtype == self.dtype) and _is_range(order)
        is_small = self.is_sparse or self.n_stored < _MIN_THREAD_WORK
        if self._n_threads == 1 or is_view or is_small:
            batches = map(fetch, parts)
        else:
            batches = read_ahead(self._thread_pool(), fetch, parts)
        for part, batch in zip(parts, batches, strict=True):
            yield batch, self._weight_at(part, batch.X.shape[0])

    def _weight_at(self, index, n_rows):
        """Return the weight of the ``n_rows`` rows at ``index``."""
        weight = self.host_weight
        return float(n_rows if weight is None else np.sum(weight[index]))

    def take(self, index):
        """Return the rows at ``index`` as a block: a view of a slice, a copy of positions.

        Of a slice, rows of weight 0 are left out.
        """
        X, y, weight = self._take_stored(self._weighted(index))
        if y is not None and y.ndim == 2:
            if self.class_weight is not None:
                y = y * self.class_weight
                # A row whose classes all have weight 0 has weight 0 itself.
                total = portable.namespace(y).sum(y, axis=1, keepdims=True)
                y /= portable.at_least(total, np.finfo(np.float32).tiny)
            y = portable.cast(y.T, self.dtype, "C")
        if self.origin is not None:
            X = portable.cast(X, np.float64) - self.origin
        return Block(native.as_float(X, self.dtype), y, weight)

    def take_parts(self, index=None):
        """Return what takes a slice of the rows of X at ``index``, and their weights.

        None takes all rows of positive weight. Rows in memory are not gathered before they are
        asked for.
        """
        if index is None and self.n_weighted < self.n_rows:
            index = np.flatnonzero(self._host_weight)
        weight = self.weight
        if weight is None:
            weight = self.place(np.ones(self.n_rows if index is None else len(index)))
        elif index is not None:
            weight = native.take_rows(weight, index)
        return lambda part: self.take(part if index is None else index[part]).X, weight

    def _take_stored(self, index):
        """Return the same as it is stored: X in its own dtype, probabilities by row."""
        X, y, weight = (
            None if values is None else native.take_rows(values, index)
            for values in (self.X, self.y, self.weight)
        )
        return Block(X, y, weight)

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
            size = max(size, _MIN_STORED_ROWS)
        if self._has_fixed_blocks:
            size = _even_size(self.n_rows, size)

        def run(start, stop):
            totals = row_sum.zeros()
            for index in self._slices(start, stop, size):
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

    def sampler(self, importance):
        """Return what draws rows: half by weight, half by weight times their importance.

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
        if self.n_weighted < self.n_rows:
            values[self._host_weight == 0] = 0.0
        return values

    def for_each(self, function):
        """Call ``function(index, block)`` for every block, on all threads.

        ``index`` are the positions of its rows: a slice, or an array of int.
        """

        def run(start, stop):
            for index, block in self.indexed_blocks(start, stop):
                function(index, block)

        self._map_rows(run)

    @functools.cached_property
    def sparse_share(self):
        """What shares compiled products of sparse rows among threads; None for SciPy's."""
        if not self.is_sparse or self.n_stored * self.n_classes < _COMPILED_SPARSE_WORK:
            return None
        return None if native.compiled_loops().add_sparse is None else self.share

    def _map_rows(self, run, step=1):
        # SciPy's sparse products hold the interpreter lock: threads only get in the way. (And
        # compiled ones share each block among the threads.)
        if self.is_sparse:
            return [run(0, self.n_rows)]
        return self.share(run, self.n_rows, self.n_stored * self.n_classes, step)

    def share(self, run, n_items, work, step=1):
        """Share ``n_items`` out among the threads.

        Parameters
        ----------
        run : callable
            ``run(start, stop)`` works on some of the items.
        n_items : int
            Their number.
        work : int
            How many multiplications that is in all; a little is not worth sharing.
        step : int, default=1
            A share starts at a multiple of this.

        Returns
        -------
        list
            What the calls returned, in order. The shares depend on nothing but ``n_items``
            and the number of threads.
        """
        if work < _MIN_THREAD_WORK or self._n_threads == 1 or n_items < _MIN_BLOCK_ROWS:
            return [run(0, n_items)]
        n_steps = -(-n_items // step)
        bounds = [n_steps * i // self._n_threads * step for i in range(self._n_threads)] + [n_items]
        return list(self._thread_pool().map(run, bounds[:-1], bounds[1:]))

    def _thread_pool(self):
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._n_threads, initializer=limit_this_thread)
        return self._threads


def are_dense_in_memory(rows):
    """Return whether rows are a NumPy array that is in this process, and not in parts."""
    return rows.is_local and rows.is_in_memory and rows.is_numpy and not rows.is_sparse


def spare_bytes(rows, least):
    """Return what may be taken beside X: a tenth of it in float64, and at least so much (bytes)."""
    return max(least, rows.n_stored * 8 // 10)


def _even_size(n_rows, size):
    """Return a size of blocks, at most ``size``, that are shared evenly among most threads."""
    n_blocks = max(4, -(-n_rows // size))
    n_blocks = 1 << (n_blocks - 1).bit_length() if n_blocks < 16 else -(-n_blocks // 16) * 16
    return -(-n_rows // n_blocks)


def read_ahead(pool, fetch, parts):
    """Yield what is fetched for each part, while a thread of the pool fetches that for the next."""
    coming = pool.submit(fetch, parts[0])
    for part in parts[1:]:
        fetched, coming = coming.result(), pool.submit(fetch, part)
        yield fetched
    yield coming.result()


def add_totals(parts):
    """Return the sums of tuples of arrays, added to the first of them."""
    parts = iter(parts)
    first = next(parts)
    for totals in parts:
        for total, part in zip(first, totals, strict=True):
            total += part
    return first


def _is_range(index):
    """Return whether positions follow one another."""
    return index[-1] - index[0] + 1 == len(index) and bool((np.diff(index) == 1).all())


def _as_slice(index):
    """Return positions that follow one another as a slice, for which nothing is copied."""
    return slice(index[0], index[-1] + 1) if _is_range(index) else index
