"""The one module that knows array libraries.

Everything above it asks for a namespace ``xp`` of the array API standard and computes with
that. Where NumPy or SciPy sparse has something much better than the standard (in-place
ufuncs, label indexing, sparse products), the faster door is here, behind the same function.
"""

import functools
import importlib.util
import math
import mmap
import sys
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp
from array_api_compat import (
    array_namespace,
    device,
    is_array_api_obj,
    is_array_api_strict_namespace,
    is_cupy_array,
    is_dask_array,
    is_jax_array,
    is_numpy_namespace,
    is_torch_array,
    to_device,
)

# Entries of a sparse block by which its features are shared out among threads.
_SPLIT_SAMPLE = 4096

__all__ = [
    "add_at_labels",
    "add_matmul",
    "array_namespace",
    "as_dense",
    "as_float",
    "as_rows",
    "compact_columns",
    "compiled_loops",
    "divide_columns",
    "exp_inplace",
    "float_dtype",
    "is_dask",
    "is_in_file",
    "is_sliceable",
    "matmul_transposed",
    "read_ahead",
    "rows_per_chunk",
    "settle_rows",
    "square",
    "stored_entries",
    "take_labels",
    "take_rows",
    "used_columns",
]


# Arrays of any library ------------------------------------------------------------------


def is_foreign(X):
    """Return whether X is an array of another library than NumPy: CuPy, PyTorch, ..."""
    if isinstance(X, np.ndarray | np.generic) or sp.issparse(X):
        return False
    if is_foreign_sparse(X):
        return True
    return is_array_api_obj(X) and not is_dask_array(X) and not is_jax_array(X)


def is_foreign_sparse(X):
    """Return whether X is a sparse matrix of CuPy's."""
    return type(X).__module__.startswith("cupyx.scipy.sparse")


def namespace(array):
    """Return the namespace that computes with an array."""
    if isinstance(array, np.ndarray | np.generic) or sp.issparse(array):
        return np
    if is_foreign_sparse(array):
        import cupy

        return array_namespace(cupy.empty(0))
    return array_namespace(array)


def empty_like_dense(X):
    """Return a dense array without entries where X is."""
    xp = namespace(X)
    return xp.empty((0,), dtype=xp.float64, device=device_of(X))


def on_host(X):
    """Return an array or a sparse matrix of any library as NumPy's or SciPy's."""
    if is_foreign_sparse(X):
        return X.get()
    return to_numpy(X) if is_foreign(X) else X


def on_gpu(X):
    """Return X in the memory of a GPU: NumPy and SciPy by CuPy, anything else by its library."""
    if is_torch_array(X):
        return X.to("cuda")
    if is_foreign(X):
        return X
    if is_sliceable(X) or is_dask(X):
        raise ValueError(
            f"device='cuda' needs X in memory; a {type(X).__name__} is computed where its parts "
            "are."
        )
    cupy = _import_cupy()
    if sp.issparse(X):
        from cupyx.scipy.sparse import csr_matrix

        return csr_matrix(sp.csr_matrix(X))
    return cupy.asarray(X)


def _import_cupy():
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            "device='cuda' needs CuPy for NumPy and SciPy X: pip install 'sklearn-softmax[gpu]', "
            "or the package cupy-cuda12x or cupy-cuda13x that fits your driver. Or pass a PyTorch "
            "tensor."
        ) from error
    try:
        n_devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        n_devices = 0
    if n_devices == 0:
        raise RuntimeError("device='cuda' needs a CUDA device, and CuPy finds none.")
    return cupy


@contextmanager
def memory_errors_told():
    """Turn a GPU's lack of memory into a MemoryError, and give free memory back to it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        message = str(error)
    else:
        return
    # (Outside of the handler, where the failed call's arrays are referred to no more.)
    if "cupy" in sys.modules:
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()
    raise MemoryError(
        f"The GPU ran out of memory: {message} Beside X a fit needs some copies of the "
        "coefficients (about 25 in float64) and a few blocks of 32 MiB; pass X as float32, or "
        "fewer features."
    )


def is_on_gpu(X):
    """Return whether a foreign array is in the memory of a GPU."""
    return "cpu" not in str(device_of(X)).lower()


def dtype_of(X):
    """Return the dtype of any array as NumPy's; bfloat16, which that has not, as float16."""
    name = str(X.dtype).rsplit(".", 1)[-1]
    return np.dtype("float16" if name == "bfloat16" else name)


def kind_of(X):
    """Return the kind of the dtype of any array, as NumPy abbreviates it."""
    try:
        return dtype_of(X).kind
    except TypeError:
        return "O"


def detached(X):
    """Return a tensor without a record of gradients; anything else as it is."""
    return X.detach() if is_torch_array(X) else X


def float_dtype(dtype):
    """Return the dtype that X is computed in: float32 for itself and float16, else float64."""
    return np.dtype(np.float32 if dtype in (np.float32, np.float16) else np.float64)


def device_of(array):
    """Return the device of an array of another library."""
    return array.data.device if is_foreign_sparse(array) else device(array)


def as_like(values, like):
    """Return a NumPy array in the library and on the device of ``like``."""
    if values is None or isinstance(like, np.ndarray) or sp.issparse(like):
        return values
    # (A negative stride or a read-only array is not for everyone.)
    values = np.array(values, order="C")
    return namespace(like).asarray(values, device=device_of(like))


def to_numpy(array):
    """Return any dense array as NumPy's."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if is_torch_array(array):
        return array.detach().cpu().numpy()
    if is_cupy_array(array):
        return array.get()
    xp = array_namespace(array)
    host = xp.Device("CPU_DEVICE") if is_array_api_strict_namespace(xp) else "cpu"
    return np.asarray(to_device(array, host))


def zeros(shape, like, order="C"):
    """Return zeros in float64, in the library and on the device of ``like``."""
    if isinstance(like, np.ndarray):
        return np.zeros(shape, order=order)
    xp = namespace(like)
    return xp.zeros(shape, dtype=xp.float64, device=device_of(like))


def empty(shape, like, dtype):
    """Return an array to be filled, in NumPy's ``dtype``, where ``like`` is."""
    if isinstance(like, np.ndarray):
        return np.empty(shape, dtype)
    xp = namespace(like)
    return xp.empty(shape, dtype=getattr(xp, np.dtype(dtype).name), device=device_of(like))


def at_least(array, bound):
    """Return the larger of each entry and a bound."""
    if isinstance(array, np.ndarray):
        return np.maximum(array, bound)
    xp = namespace(array)
    bound = float(bound) if isinstance(bound, np.generic) else bound
    return xp.maximum(array, xp.ones_like(array) * bound)


def copy_of(array):
    """Return a copy."""
    return (
        array.copy()
        if isinstance(array, np.ndarray)
        else namespace(array).asarray(array, copy=True)
    )


def numbers(scalars):
    """Return arrays of shape () as floats, all at once where that costs a synchronisation."""
    if not scalars or isinstance(scalars[0], float | np.ndarray | np.generic):
        return [float(scalar) for scalar in scalars]
    return to_numpy(namespace(scalars[0]).stack(scalars)).tolist()


def diagonal_matrix(values):
    """Return the square matrix with a diagonal."""
    xp = namespace(values)
    return xp.eye(values.shape[0], dtype=values.dtype, device=device_of(values)) * values


def all_finite(array):
    """Return whether no entry of a dense array is NaN or infinite."""
    xp = namespace(array)
    return bool(xp.all(xp.isfinite(array)))


def cholesky(matrix):
    """Return the lower Cholesky factor of a foreign matrix; None if it is not definite."""
    xp = namespace(matrix)
    try:
        factor = xp.linalg.cholesky(matrix)
    except Exception as error:
        if "Linalg" not in type(error).__name__ and "LinAlg" not in type(error).__name__:
            raise
        return None
    return factor if all_finite(factor) else None  # CuPy's is NaN where PyTorch's raises


def solve_cholesky(factor, vector):
    """Return the solution of L L' x = vector, for a foreign L."""
    xp = namespace(factor)
    if is_torch_array(factor):
        import torch

        return torch.cholesky_solve(vector[:, None], factor)[:, 0]
    if is_cupy_array(factor):
        from cupyx.scipy.linalg import solve_triangular

        half = solve_triangular(factor, vector, lower=True)
        return solve_triangular(factor, half, lower=True, trans=1)
    half = xp.linalg.solve(factor, vector[:, None])
    return xp.linalg.solve(factor.T, half)[:, 0]


def cast(array, dtype, order="K"):
    """Return a dense array in NumPy's ``dtype``; no copy where it already is."""
    if isinstance(array, np.ndarray):
        return array.astype(dtype, order=order, copy=False)
    xp = namespace(array)
    return xp.astype(array, getattr(xp, np.dtype(dtype).name), copy=False)


def flatten(matrix, order):
    """Return a matrix as a vector, a view where it can be."""
    if isinstance(matrix, np.ndarray):
        return matrix.ravel(order=order)
    return namespace(matrix).reshape(matrix, (-1,))


def as_matrix(vector, shape, order):
    """Return a view of a vector as a matrix."""
    if isinstance(vector, np.ndarray):
        return vector.reshape(shape, order=order)
    return namespace(vector).reshape(vector, shape)


def size(array):
    """Return the number of entries."""
    return math.prod(array.shape)


def exp_inplace(array, xp):
    """Return exp(array), written over ``array`` where the library can."""
    return np.exp(array, out=array) if is_numpy_namespace(xp) else xp.exp(array)


class _NoCompiledLoops:
    add_dense = add_sparse = multiply_sparse = settle_rows = None


@functools.cache
def compiled_loops():
    """Return :mod:`sklearn_softmax._compiled`; where Numba is missing, a stand-in with Nones."""
    if importlib.util.find_spec("numba") is None:
        return _NoCompiledLoops
    from . import _compiled

    return _compiled


# Labels --------------------------------------------------------------------------------


def take_labels(array, labels, *, axis, xp):
    """Return the entries of ``array`` at ``labels`` along ``axis`` (which is dropped)."""
    if is_numpy_namespace(xp):
        if array.ndim == 2:
            return array[_label_index(labels, axis)]
        labels = np.expand_dims(labels, axis)
        return np.take_along_axis(array, labels, axis=axis).squeeze(axis)
    zero = xp.zeros((), dtype=array.dtype, device=array.device)
    return xp.sum(xp.where(_label_mask(array, labels, axis, xp), array, zero), axis=axis)


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
            return X[index]
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
    # SciPy's own slicing validates the result, which costs more than a small product.
    start, stop = index.start, index.stop
    low, high = X.indptr[start], X.indptr[stop]
    indptr = X.indptr[start : stop + 1] - low
    block = sp.csr_matrix((stop - start, X.shape[1]), dtype=X.dtype)
    block.data, block.indices, block.indptr = X.data[low:high], X.indices[low:high], indptr
    return block


def is_sliceable(X):
    """Return whether X is no array, but gives arrays when rows are sliced: h5py, zarr."""
    is_array = isinstance(X, np.ndarray | np.generic) or sp.issparse(X) or is_array_api_obj(X)
    if is_array or is_foreign_sparse(X) or is_dask(X):
        return False
    has = functools.partial(hasattr, X)
    is_table = has("iloc") or has("columns")
    return has("shape") and has("dtype") and has("__getitem__") and not is_table


def is_in_file(X):
    """Return whether rows of X are read from a file as they are taken."""
    if sp.issparse(X):
        return False
    return _memory_map(X) is not None if isinstance(X, np.ndarray) else is_sliceable(X)


def read_ahead(X, start, stop):
    """Have the operating system read rows of a memory-mapped X, if it is one, without waiting."""
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
    """Return a CSR block of only those columns; it has nothing in others."""
    positions = np.empty(block.shape[1], dtype=block.indices.dtype)
    positions[columns] = np.arange(len(columns))
    compact = sp.csr_matrix((block.shape[0], len(columns)), dtype=block.dtype)
    compact.data, compact.indptr = block.data, block.indptr
    compact.indices = positions[block.indices]
    return compact


def divide_columns(block, scale):
    """Return a CSR block in float64 with each column divided by its scale."""
    if is_foreign_sparse(block):
        return block.multiply(1.0 / scale).tocsr()
    scaled = sp.csr_matrix(block.shape, dtype=np.float64)
    scaled.data, scaled.indices, scaled.indptr = (
        block.data / scale[block.indices],
        block.indices,
        block.indptr,
    )
    return scaled


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
    if is_foreign(block) and not is_foreign_sparse(block):
        return cast(block, dtype)
    return block if block.dtype == dtype else block.astype(dtype)


def is_dask(values):
    """Return whether something is a Dask collection."""
    return "dask" in sys.modules and sys.modules["dask"].is_dask_collection(values)


def as_rows(part):
    """Return a partition of a Dask collection as an array or a CSR matrix."""
    if sp.issparse(part):
        return part if part.format == "csr" else part.tocsr()
    return part.to_numpy() if hasattr(part, "to_numpy") else part


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
        if isinstance(block, np.ndarray) and block.dtype == np.float64:
            # OpenBLAS is faster by a quarter with the thin factor on this side.
            total += (block.T @ matrix.T).T
        else:
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
