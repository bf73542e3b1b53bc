"""Arrays of any library: whose they are, where they are, and how they are moved and made.

The package computes with the array API standard. What the standard lacks is here. What a library
does faster is in :mod:`sklearn_softmax._arrays.native`.
"""

import functools
import sys
from contextlib import contextmanager, nullcontext

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
    is_pydata_sparse_array,
    is_torch_array,
    to_device,
)

from .dask_workers import beside_other_tasks


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


def is_sliceable(X):
    """Return whether X is a dataset that gives arrays when it is sliced: h5py, zarr."""
    is_array = isinstance(X, np.ndarray | np.generic) or sp.issparse(X) or is_array_api_obj(X)
    if is_array or is_foreign_sparse(X) or is_dask(X):
        return False
    has = functools.partial(hasattr, X)
    is_table = has("iloc") or has("columns")
    return has("shape") and has("dtype") and has("__getitem__") and not is_table


def is_dask(values):
    """Return whether something is a Dask collection."""
    return "dask" in sys.modules and sys.modules["dask"].is_dask_collection(values)


def namespace(*arrays):
    """Return the namespace that computes with arrays, which must be of one library."""
    if all(isinstance(array, np.ndarray) for array in arrays):  # (the most frequent case)
        return np
    (array, *others) = arrays
    if not others and (isinstance(array, np.generic) or sp.issparse(array)):
        return np
    if not others and is_foreign_sparse(array):
        import cupy

        return array_namespace(cupy.empty(0))
    return array_namespace(*arrays)


def dtype_name(X):
    """Return the name of the dtype of any array, without that of its library."""
    return str(X.dtype).rsplit(".", 1)[-1]


def dtype_of(X):
    """Return the dtype of any array as NumPy's, which has no bfloat16: that becomes float16."""
    if isinstance(X, np.ndarray):
        return X.dtype
    name = dtype_name(X)
    return np.dtype("float16" if name == "bfloat16" else name)


def kind_of(X):
    """Return the kind of the dtype of any array, as NumPy abbreviates it."""
    try:
        return dtype_of(X).kind
    except TypeError:
        return "O"


def float_dtype(dtype):
    """Return the dtype that X is computed in: float32 for itself and float16, else float64."""
    is_float32 = dtype.kind == "f" and dtype.itemsize <= np.dtype(np.float32).itemsize
    return np.dtype(np.float32 if is_float32 else np.float64)


def device_of(array):
    """Return the device of an array of another library."""
    return array.data.device if is_foreign_sparse(array) else device(array)


def on_device_of(X):
    """Return a context in which the device and the thread are those that X needs.

    CuPy computes on its current device, wherever the arrays are. A task of Dask's has to leave its
    thread to the tasks that it waits for. Other libraries go by their arrays.
    """
    if is_dask(X):
        return beside_other_tasks()
    return device_of(X) if is_cupy_array(X) or is_foreign_sparse(X) else nullcontext()


def is_on_gpu(X):
    """Return whether a foreign array is in the memory of a GPU."""
    return "cpu" not in str(device_of(X)).lower()


def empty_like_dense(X):
    """Return a dense array without entries where X is."""
    xp = namespace(X)
    return xp.empty((0,), dtype=xp.float64, device=device_of(X))


def as_like(values, like):
    """Return a NumPy array in the library and on the device of ``like``."""
    if values is None or isinstance(like, np.ndarray) or sp.issparse(like):
        return values
    # (Not every library takes negative strides and read-only arrays.)
    values = np.array(values, order="C")
    return namespace(like).asarray(values, device=device_of(like))


def to_numpy(array):
    """Return any dense array as NumPy's."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if is_torch_array(array):
        array = array.float() if dtype_name(array) == "bfloat16" else array  # (NumPy has none)
        return array.numpy(force=True)
    if is_cupy_array(array):
        return array.get()
    xp = array_namespace(array)
    host = xp.Device("CPU_DEVICE") if is_array_api_strict_namespace(xp) else "cpu"
    return np.asarray(to_device(array, host))


def in_memory(values, name):
    """Return values for each row as an array in memory, if they are in a file or on a device.

    ``name`` is what errors call it. A Dask collection is computed; anything else is returned as it
    is.
    """
    if is_dask(values):
        return values.compute()
    if is_foreign(values):
        refuse_without_entries(values, name)
        return to_numpy(values)
    return np.asarray(values[:]) if is_sliceable(values) else values


def refuse_without_entries(array, name):
    """Raise an error for arrays of the package sparse, and for tensors without dense entries."""
    if is_pydata_sparse_array(array):
        raise ValueError(
            f"{name} is an array of the package sparse. Pass {name}.to_scipy_sparse()."
        )
    if not is_torch_array(array):
        return
    if array.device.type == "meta":
        raise ValueError(f"{name} is a PyTorch tensor on the device 'meta', which has no values.")
    layout = str(array.layout).rsplit(".", 1)[-1]
    if layout != "strided":
        advice = " or a CSR matrix of SciPy's or CuPy's" if name == "X" else ""
        raise ValueError(
            f"{name} is a PyTorch tensor of layout {layout}, which is not supported. Pass "
            f"{name}.to_dense(){advice}."
        )


def detached(X):
    """Return a tensor without a record of gradients; anything else as it is."""
    return X.detach() if is_torch_array(X) else X


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
    # (Within the handler the arrays of the failed call would still be referred to.)
    if "cupy" in sys.modules:
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()
    raise MemoryError(
        f"The GPU ran out of memory: {message} Beside X a fit needs some copies of the "
        "coefficients (about 25 in float64) and a few blocks of 32 MiB; pass X as float32, or "
        "fewer features."
    )


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


def copy_of(array):
    """Return a copy."""
    return namespace(array).asarray(array, copy=True)


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


def numbers(scalars):
    """Return arrays of shape () as floats, all at once where that costs a synchronisation."""
    if not scalars or isinstance(scalars[0], float | np.ndarray | np.generic):
        return [float(scalar) for scalar in scalars]
    return to_numpy(namespace(scalars[0]).stack(scalars)).tolist()


def at_least(array, bound):
    """Return the larger of each entry and a bound."""
    if isinstance(array, np.ndarray):
        return np.maximum(array, bound)
    xp = namespace(array)
    bound = float(bound) if isinstance(bound, np.generic) else bound
    return xp.maximum(array, xp.ones_like(array) * bound)


def diagonal_matrix(values):
    """Return the square matrix with a diagonal."""
    xp = namespace(values)
    return xp.eye(values.shape[0], dtype=values.dtype, device=device_of(values)) * values


def all_finite(array):
    """Return whether no entry of an array, or stored entry of a CSR matrix, is NaN or infinite."""
    stored = array.data if hasattr(array, "indptr") else array
    xp = namespace(stored)
    return bool(xp.all(xp.isfinite(stored)))


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
