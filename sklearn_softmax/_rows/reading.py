"""Rows of files: read before they are needed, and shuffled so that the disk need not seek."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .._arrays import native, portable

# How far a memory map is read ahead, twice over (bytes).
_AHEAD_BYTES = 8 << 20
# Runs of rows of a file that are shuffled as one (bytes), and how many are mixed.
_RUN_BYTES = 1 << 20
_WINDOW_RUNS = 32


def slices(X, start, stop, size):
    """Yield slices of the rows ``start:stop`` in order; what follows in a memory map is read."""
    is_mapped = isinstance(X, np.ndarray) and native.is_in_file(X)
    ahead = max(size, _AHEAD_BYTES // _row_bytes(X)) if is_mapped else 0
    wanted = start
    for low in range(start, stop, size):
        if is_mapped and low + ahead > wanted:
            native.read_ahead(X, wanted, min(wanted + ahead, stop))
            wanted += ahead
        yield slice(low, min(low + size, stop))


def shuffled(rows, X, rng):
    """Return positions of rows of X in random order.

    Rows in a file are shuffled in two steps: short runs of rows that lie together, and then the
    rows of as many runs as are read together. So the disk need not seek for each row.

    Parameters
    ----------
    rows : ndarray of int
        The positions, sorted.
    X : array, sparse matrix or dataset
        All rows.
    rng : numpy.random.Generator
        Draws the order.
    """
    run = _rows_per_run(X)
    n_runs = -(-len(rows) // run)
    if run == 1 or n_runs <= _WINDOW_RUNS:
        return rng.permutation(rows)
    runs = [rows[i * run : (i + 1) * run] for i in rng.permutation(n_runs)]
    windows = (runs[i : i + _WINDOW_RUNS] for i in range(0, n_runs, _WINDOW_RUNS))
    return np.concatenate([rng.permutation(np.concatenate(window)) for window in windows])


def _rows_per_run(X):
    """Return how many rows that lie together stay together in a shuffle."""
    if portable.is_foreign(X) or not native.is_in_file(X):
        return 1
    return max(1, _RUN_BYTES // _row_bytes(X), native.rows_per_chunk(X))


def _row_bytes(X):
    return max(1, X.shape[1] * X.dtype.itemsize)


class Reader:
    """A thread that reads one part of a file while others work on the part before it."""

    def __init__(self):
        self._pool = None

    def read(self, fetch, parts):
        """Yield what ``fetch`` returns for each part, in order."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1)
        return fetched_ahead(self._pool, fetch, parts)

    def close(self):
        """End the thread."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def fetched_ahead(pool, fetch, parts):
    """Yield what is fetched for each part, while a thread of the pool fetches that for the next."""
    coming = pool.submit(fetch, parts[0])
    for part in parts[1:]:
        fetched, coming = coming.result(), pool.submit(fetch, part)
        yield fetched
    yield coming.result()


def as_slice(index):
    """Return positions that follow one another as a slice, for which nothing is copied."""
    return slice(index[0], index[-1] + 1) if is_range(index) else index


def is_range(index):
    """Return whether positions follow one another."""
    return index[-1] - index[0] + 1 == len(index) and bool((np.diff(index) == 1).all())
