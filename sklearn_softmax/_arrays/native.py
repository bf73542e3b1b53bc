"""What an array library does faster than the standard, or differently from the others.

The package computes with the array API standard (:mod:`sklearn_softmax._arrays.portable`). Where
NumPy, SciPy or CuPy has something much faster (ufuncs in place, an index by labels, sparse
products, files), it is here, behind one function for all libraries.
"""

import functools
import importlib.util
import mmap

import numpy as np
import scipy.sparse as sp
from array_api_compat import (
    is_cupy_array,
    is_numpy_namespace,
)

from .data_frames import rows_of_frame
from .portable import as_like, cast, is_foreign, is_foreign_sparse, is_sliceable, namespace
from .sparse import canonical_rows, native_values

# Entries of a sparse block by which its features are shared out among threads.
_SPLIT_SAMPLE = 4096

__all__ = [
    "add_at_labels",
    "add_matmul",
    "as_dense",
    "as_float",
    "as_rows",
    "compact_columns",
    "compiled_loops",
    "divide_columns",
    "exp_inplace",
    "fused_softmax",
    "is_in_file",
    "matmul_transposed",
    "read_ahead",
    "rows_per_chunk",
    "settle_rows",
    "square",
    "stored_entries",
    "take_labels",
    "take_rows",
    "used_columns",
    "with_values",
]


def exp_inplace(array, xp):
    """Return exp(array), written over ``array`` where the library can."""
    return np.exp(array, out=array) if is_numpy_namespace(xp) else xp.exp(array)


def fused_softmax(X, y):
    """Return CuPy's kernel for softmax and loss of a block with labels; None for other blocks."""
    if not is_foreign(X) or y.ndim == 2:
        return None
    if not is_foreign_sparse(X) and not is_cupy_array(X):
        return None
    from . import cuda

    return cuda.loss_residual


class _NoCompiledLoops:
    add_dense = add_sparse = multiply_sparse = settle_rows = None


@functools.cache
def compiled_loops():
    """Return the module of compiled loops; where Numba is missing, a stand-in with Nones."""
    if importlib.util.find_spec("numba") is None:
        return _NoCompiledLoops
    from . import compiled

    return compiled


# Labels --------------------------------------------------------------------------------


def take_labels(array, labels, *, axis, xp):
    """Return the entries of ``array`` at ``labels`` along ``axis`` (which is dropped)."""
    if is_numpy_namespace(xp) and array.ndim == 2:
        return array[_label_index(labels, axis)]
    # (PyTorch takes no other integers.)
    positions = xp.expand_dims(xp.astype(labels, xp.int64, copy=False), axis=axis)
    return xp.squeeze(xp.take_along_axis(array, positions, axis=axis), axis=axis)


def add_at_labels(array, labels, amount, *, axis, xp):
    """Return ``array`` with ``amount`` added at ``labels`` along ``axis``.

    NumPy arrays are changed in place. ``amount`` broadcasts against ``labels``.
    """
    if is_numpy_namespace(xp):
        if array.ndim == 2:
            array[_label_index(labels, axis)] += amount
            return array
        labels = np.expand_dims(labels, axis)
        if np.ndim(amount):
            amount = np.expand_dims(amount, axis)
        moved = np.take_along_axis(array, labels, axis=axis) + amount
        np.put_along_axis(array, labels, moved, axis=axis)
        return array
    if getattr(amount, "ndim", 0):
        amount = xp.expand_dims(amount, axis=axis)
    return xp.where(_label_mask(array, labels, axis, xp), array + amount, array)


def _label_index(labels, axis):
    positions = np.arange(labels.shape[0])
    return (labels, positions) if axis == 0 else (positions, labels)


def _label_mask(array, labels, axis, xp):
    # The standard has no scatter; a mask of one block is the portable way.
    shape = [1] * array.ndim
    shape[axis] = array.shape[axis]
    classes = xp.arange(array.shape[axis], dtype=labels.dtype, device=labels.device)
    return xp.reshape(classes, tuple(shape)) == xp.expand_dims(labels, axis=axis)


# Rows of X -----------------------------------------------------------------------------


def take_rows(X, index):
    """Return rows of X: a view (of its data, for CSR) of a slice, a copy of positions."""
    if is_foreign(X):
        if is_foreign_sparse(X):
            return X[index if isinstance(index, slice) else as_like(index, X)]
        if isinstance(index, slice):
            return X[index, ...]
        return namespace(X).take(X, as_like(index, X), axis=0)
    if not isinstance(index, slice):
        # (take lets other threads run, which indexing does not; but it copies X whole first
        # where X is not laid out by rows.)
        has_rows = isinstance(X, np.ndarray) and X.flags.c_contiguous and X.flags.aligned
        return np.take(X, index, axis=0) if has_rows else X[index]
    if not sp.issparse(X):
        return X[index] if isinstance(X, np.ndarray) else np.asarray(X[index])
    start, stop = index.start, index.stop
    low, high = X.indptr[start], X.indptr[stop]
    indptr = X.indptr[start : stop + 1] - low
    return _csr(X.data[low:high], X.indices[low:high], indptr, (stop - start, X.shape[1]))


def _csr(data, indices, indptr, shape):
    """Return a CSR matrix of SciPy's. To validate it would cost more than a small product."""
    block = sp.csr_matrix(shape, dtype=data.dtype)
    block.data, block.indices, block.indptr = data, indices, indptr
    return block


def is_in_file(X):
    """Return whether rows of X are read from a file as they are taken."""
    if sp.issparse(X):
        return False
    return _memory_map(X) is not None if isinstance(X, np.ndarray) else is_sliceable(X)


def read_ahead(X, start, stop):
    """Have the operating system read rows of X, if that is memory-mapped, without waiting."""
    file = _memory_map(X)
    if file is None or not X.flags.c_contiguous or not hasattr(file, "madvise"):
        return
    rows = X[start:stop]
    begin = rows.ctypes.data - np.frombuffer(file, dtype=np.uint8).ctypes.data
    page = begin - begin % mmap.PAGESIZE
    file.madvise(mmap.MADV_WILLNEED, page, begin + rows.nbytes - page)


def _memory_map(X):
    """Return the memory map that an array is a view of, or None."""
    while isinstance(X, np.ndarray):
        X = X.base
    return X if isinstance(X, mmap.mmap) else None


def rows_per_chunk(X):
    """Return how many rows a file stores as one piece."""
    chunks = getattr(X, "chunks", None)
    return chunks[0] if chunks else 1


def used_columns(block):
    """Return the columns of a CSR block that hold anything."""
    is_used = np.zeros(block.shape[1], dtype=bool)
    is_used[block.indices] = True
    return np.flatnonzero(is_used)


def compact_columns(block, columns):
    """Return a CSR block with those columns alone; the others must be empty."""
    positions = np.empty(block.shape[1], dtype=block.indices.dtype)
    positions[columns] = np.arange(len(columns))
    shape = block.shape[0], len(columns)
    return _csr(block.data, positions[block.indices], block.indptr, shape)


def with_values(block, values):
    """Return a CSR matrix with the entries of a block, and other values."""
    if is_foreign_sparse(block):
        return type(block)((values, block.indices, block.indptr), shape=block.shape)
    return _csr(values, block.indices, block.indptr, block.shape)


def divide_columns(block, scale):
    """Return a CSR block in float64 with each column divided by its scale."""
    return with_values(block, block.data / scale[block.indices])


def settle_rows(matrix, index, shrinkage, toll, average, kept, *, is_compiled):
    """Shrink some rows of a matrix, in place, and let their average follow.

    A row u becomes ``shrinkage * sign(u) * max(|u| - toll, 0)``, and its average a becomes
    ``u + kept * (a - u)``.

    Parameters
    ----------
    matrix : ndarray of shape (n_rows, n_entries)
    index : ndarray of int, of shape (n_taken,)
        The rows.
    shrinkage, toll, kept : ndarray of shape (n_taken,)
    average : ndarray of shape (n_rows, n_entries) or None
    is_compiled : bool
        Whether to do it in compiled code.
    """
    if is_compiled:
        mean, is_averaged = (matrix, False) if average is None else (average, True)
        compiled_loops().settle_rows(matrix, index, shrinkage, toll, mean, kept, is_averaged)
        return
    rows = matrix[index]
    if toll.any():
        rows = np.sign(rows) * np.maximum(np.abs(rows) - toll[:, None], 0.0)
    rows *= shrinkage[:, None]
    matrix[index] = rows
    if average is not None:
        average[index] = rows + kept[:, None] * (average[index] - rows)


def as_float(block, dtype):
    """Return a block of rows in the float dtype; no copy where it already is."""
    if not hasattr(block, "indptr"):
        return cast(block, dtype)
    return block if block.dtype == dtype else block.astype(dtype)


def as_rows(part):
    """Return a partition of a Dask collection as an array or a CSR matrix.

    The result is what a fit makes of X in memory: sparse matrices become canonical rows, and data
    frames become arrays of numbers.
    """
    if sp.issparse(part):
        return canonical_rows(part)
    if hasattr(part, "to_numpy"):
        part = rows_of_frame(part)
        return canonical_rows(part) if sp.issparse(part) else part
    if not isinstance(part, np.ndarray):
        return part
    if np.ma.is_masked(part):
        raise ValueError("X has masked entries, which are missing values.")
    return native_values(np.asarray(part))


def stored_entries(X):
    """Return the number of entries of X that a product has to touch."""
    return X.nnz if hasattr(X, "indptr") else X.shape[0] * X.shape[1]


def as_dense(block):
    """Return a block of rows as a dense array."""
    return block.toarray() if hasattr(block, "indptr") else block


def square(block):
    """Return the element-wise square of a dense or sparse block."""
    return block.power(2) if hasattr(block, "indptr") else block * block


def matmul_transposed(matrix, block, share=None):
    """Return ``matrix @ block.T`` of shape (n_rows of matrix, n_rows of block), C-ordered.

    ``share`` (see :meth:`RowBlocks.share`) has the products of sparse rows taken in compiled
    code, on all threads.
    """
    if is_foreign_sparse(block):
        return (block @ matrix.T).T
    if not sp.issparse(block):
        return matrix @ block.T
    if share is None:
        return np.ascontiguousarray((block @ matrix.T).T)
    product = np.empty((matrix.shape[0], block.shape[0]), dtype=matrix.dtype)

    def run(start, stop):
        compiled_loops().multiply_sparse(block, matrix, product, start, stop)

    share(run, block.shape[0], block.nnz * matrix.shape[0])
    return product


def add_matmul(total, matrix, block, share=None):
    """Add ``matrix @ block`` to ``total`` in place; ``share`` as above."""
    if is_foreign_sparse(block):
        total += (block.T @ matrix.T).T
    elif not sp.issparse(block):
        total += matrix @ block
    elif share is None:
        total.T[...] += block.T @ np.ascontiguousarray(matrix.T)
    else:
        # Each thread adds to features of its own, so that one total does for all. A sample of
        # the entries tells how to share the features out.
        sample = np.sort(block.indices[:: 1 + block.nnz // _SPLIT_SAMPLE])

        def run(start, stop):
            low = sample[start] if start else 0
            high = sample[stop] if stop < len(sample) else block.shape[1]
            compiled_loops().add_sparse(block, matrix, total, low, high)

        share(run, len(sample), block.nnz * matrix.shape[0])
