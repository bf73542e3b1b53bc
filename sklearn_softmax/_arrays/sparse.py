"""Sparse rows as the other modules expect them: canonical CSR, in dtypes that SciPy computes with.

The caller's matrix is never written to. It is not even asked whether it is canonical, because
SciPy stores the answer in the object.
"""

import copy

import numpy as np
import scipy.sparse as sp


def canonical_rows(X):
    """Return a sparse matrix as CSR, its columns sorted and none twice in a row.

    Parameters
    ----------
    X : sparse matrix or array of SciPy's, of any format
        Entries for the same place stand for their sum.

    Returns
    -------
    csr_matrix or csr_array
        A new object. It shares the entries of X where those are as they should be.
    """
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions; its shape is {X.shape}.")
    rows = _as_csr(X)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def canonical_foreign_rows(X):
    """Return a sparse matrix of CuPy's as canonical CSR; as :func:`canonical_rows`."""
    if X.format != "csr":
        X = X.tocsr()
    rows = type(X)((X.data, X.indices, X.indptr), shape=X.shape)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def _as_csr(X):
    if X.format == "csr":
        return _compressed(X, sp.csr_array if isinstance(X, sp.sparray) else sp.csr_matrix)
    if X.format == "csc":
        return _compressed(X, sp.csc_array if isinstance(X, sp.sparray) else sp.csc_matrix).tocsr()
    if isinstance(getattr(X, "data", None), np.ndarray) and X.format != "lil":
        values = native_values(X.data)
        if values is not X.data:
            X = copy.copy(X)
            X.data = values
    return X.tocsr()


def _compressed(X, kind):
    """Return the same matrix as an object of its own, with arrays that compiled code can take."""
    indices, indptr = _indices(X.indices), _indices(X.indptr)
    if indices.dtype != indptr.dtype:
        indices, indptr = indices.astype(np.int64), indptr.astype(np.int64)
    data, n_lines = native_values(X.data), len(indptr) - 1
    shape = X.shape if X.format == "csr" else X.shape[::-1]
    n_stored = int(indptr[-1]) if len(indptr) else 0
    if (
        n_lines != shape[0]
        or indptr[0] != 0
        or np.any(indptr[1:] < indptr[:-1])
        or n_stored > min(len(indices), len(data))
    ):
        raise ValueError(
            f"X is not a valid {X.format.upper()} matrix: its indptr must have {shape[0] + 1} "
            f"entries that start at 0, never fall, and end at no more than the "
            f"{min(len(indices), len(data))} entries that are stored."
        )
    indices, data = indices[:n_stored], data[:n_stored]
    if n_stored and (indices.min() < 0 or indices.max() >= shape[1]):
        raise ValueError(
            f"X is not a valid {X.format.upper()} matrix of shape {X.shape}: its indices must be "
            f"from 0 to {shape[1] - 1}, but they are from {indices.min()} to {indices.max()}."
        )
    result = kind(X.shape, dtype=data.dtype)
    result.data, result.indices, result.indptr = data, indices, indptr
    return result


def _indices(values):
    """Return positions as int32 or int64; a copy only where it must be."""
    if values.dtype in (np.int32, np.int64):
        return np.asarray(values)
    if values.dtype.kind not in "iu":
        raise ValueError(
            f"X is not a valid sparse matrix: its indices must be integers, not {values.dtype}."
        )
    return values.astype(np.int64)


def native_values(values):
    """Return numbers in a dtype that compiled code computes with; a copy only where it must be.

    Bytes are put in the machine's order, float16 becomes float32, and what has more digits than
    float64, or is an object, becomes float64.
    """
    dtype = values.dtype
    if dtype.kind == "O":
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"X must hold numbers: {error}.") from None
    if dtype.kind not in "biufc":
        raise ValueError(f"X must hold numbers; its dtype is {dtype}.")
    if dtype.kind == "f":
        wanted = {2: np.float32, 4: np.float32}.get(dtype.itemsize, np.float64)
        return values if dtype == wanted else values.astype(wanted)
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))
