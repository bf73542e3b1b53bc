"""Sums over rows of the Hessian.

Each row adds the Hessian of the softmax, classes by classes, times the products of its features.
"""

import numpy as np
from scipy.linalg import blas

from .._arrays import portable

# Rows whose outer products are summed in one go, by the size of the products (bytes).
_OUTER_BYTES = 2 << 20
_OUTER_ROWS = 64
_FOREIGN_OUTER_BYTES = 64 << 20
# Products of pairs of features are taken for so many rows at once, by their size (bytes). They pay
# from so many classes on; for fewer features, whose products stay in cache, from fewer.
_PAIRS_BYTES = 2 << 20
_FEWEST_PAIR_ROWS, _MOST_PAIR_ROWS = 128, 1024
_PAIR_OUTPUTS = 6
_PAIR_COST = 10  # of a product of two features, in multiplications of a large matrix product
_FEW_COLUMNS, _PAIR_OUTPUTS_OF_FEW = 64, 4


def add_softmax_hessian(rows, proba, variance, weight, hessian):
    r"""Add :math:`\sum_i w_i (\operatorname{diag}(p_i) - p_i p_i^\top) \otimes z_i z_i^\top`.

    Off the blocks of one class it is less one symmetric product :math:`Q^\top Q`, where row i of
    Q is :math:`\sqrt{w_i} \, p_i \otimes z_i`. The blocks are summed by themselves: as differences
    of :math:`p` and :math:`p^2` they would be rounding errors where p is near 1.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_columns)
        The z.
    proba : ndarray of shape (n_outputs, n_rows)
        The p, of all classes or of some.
    variance : ndarray of shape (n_outputs, n_rows)
        The p (1 - p).
    weight : ndarray of shape (n_rows,)
        The w.
    hessian : ndarray of shape (n_outputs * n_columns, n_outputs * n_columns)
        Added to in place, in its lower triangle. In Fortran order.
    """
    n_outputs, n_rows = proba.shape
    n_columns = rows.shape[1]
    size = n_outputs * n_columns
    if not isinstance(rows, np.ndarray):
        _add_foreign_hessian(rows, proba, variance, weight, hessian)
        return
    if n_outputs == 1:
        scaled = rows * np.sqrt(variance[0] * weight)[:, None]
        hessian += scaled.T @ scaled
        return
    by_class = hessian.T.reshape(n_outputs, n_columns, n_outputs, n_columns)
    root = np.sqrt(weight)
    blocks = np.stack([by_class[k, :, k, :] for k in range(n_outputs)])
    step = max(_OUTER_ROWS, _OUTER_BYTES // (8 * size))
    outers = np.empty((min(step, n_rows), n_outputs, n_columns))
    for start in range(0, n_rows, step):
        part = slice(start, start + step)
        z, p = rows[part], proba[:, part]
        outer = outers[: len(z)]
        # (Left to itself NumPy would lay it out by class, for a copy to be made of.)
        np.multiply((p * root[part]).T[:, :, None], z[:, None, :], out=outer)
        blas.dsyrk(-1.0, outer.reshape(len(z), size).T, beta=1.0, c=hessian, lower=1, overwrite_c=1)
        for k in range(n_outputs):
            blocks[k] += z.T @ ((variance[k, part] * weight[part])[:, None] * z)
    for k in range(n_outputs):
        by_class[k, :, k, :] = blocks[k]


def sums_pairs(n_outputs, n_columns):
    """Return whether :func:`add_pairs` is faster than :func:`add_softmax_hessian`."""
    least = _PAIR_OUTPUTS_OF_FEW if n_columns <= _FEW_COLUMNS else _PAIR_OUTPUTS
    return n_outputs >= least


def hessian_cost(n_outputs, n_columns):
    """Return how many multiplications of a large matrix product a row's Hessian costs."""
    if sums_pairs(n_outputs, n_columns):
        return n_pairs(n_outputs) * n_pairs(n_columns) + _PAIR_COST * n_pairs(n_columns)
    return (n_outputs * n_columns) ** 2 / 2 + 1.5 * n_outputs * n_columns**2


def add_pairs(rows, proba, variance, weight, totals):
    """Add the same to a matrix with a row for each pair of classes, a column for each of features.

    The Hessian is symmetric in the classes as it is in the features. So it takes half the
    multiplications of one triangle, and a matrix product of long rows.

    Parameters
    ----------
    rows, proba, variance, weight : ndarray
        As for :func:`add_softmax_hessian`.
    totals : ndarray of shape (n_outputs (n_outputs + 1) / 2, n_columns (n_columns + 1) / 2)
        Added to in place.
    """
    n_outputs = len(proba)
    n_rows = len(rows)
    step = _PAIRS_BYTES // (8 * totals.shape[1])
    step = min(max(step, _FEWEST_PAIR_ROWS), _MOST_PAIR_ROWS, max(n_rows, 1))
    features, classes = (np.empty((size, step)) for size in totals.T.shape)
    same = [_first_pair(k, n_outputs) for k in range(n_outputs)]
    for start in range(0, n_rows, step):
        part = slice(start, min(start + step, n_rows))
        n_taken = part.stop - start
        z, p = np.ascontiguousarray(rows[part].T), proba[:, part]
        _multiply_pairs(z, z, features[:, :n_taken])
        weighted = p * weight[part]
        _multiply_pairs(-weighted, p, classes[:, :n_taken])
        classes[same, :n_taken] = variance[:, part] * weight[part]
        totals += classes[:, :n_taken] @ features[:, :n_taken].T


def _multiply_pairs(left, right, products):
    """Set the products of each row of ``left`` with those of ``right`` from it on."""
    n = len(left)
    for k in range(n):
        first = _first_pair(k, n)
        np.multiply(left[k], right[k:], out=products[first : first + n - k])


def _first_pair(k, n):
    """Return the position of the pair (k, k) among the pairs of n, which are in order."""
    return k * n - k * (k - 1) // 2


def n_pairs(n):
    return n * (n + 1) // 2


def unpack_pairs(totals, n_outputs, n_columns):
    """Return the Hessian for the totals of pairs: its lower triangle, in Fortran order."""
    pairs = np.zeros((n_columns, n_columns), dtype=np.intp)
    pairs[np.triu_indices(n_columns)] = np.arange(n_pairs(n_columns))
    pairs = np.maximum(pairs, pairs.T).ravel()
    size = n_outputs * n_columns
    hessian = np.zeros((size, size), order="F")
    by_class = hessian.T.reshape(n_outputs, n_columns, n_outputs, n_columns)
    blocks = totals[:, pairs].reshape(-1, n_columns, n_columns)
    first = 0
    for k in range(n_outputs):
        others = blocks[first : first + n_outputs - k]
        by_class[k, :, k:, :] = others.transpose(1, 0, 2)
        first += n_outputs - k
    return hessian


def _add_foreign_hessian(rows, proba, variance, weight, hessian):
    """Do the same for arrays of other libraries: all of the Hessian, a part of the rows at once."""
    xp = portable.namespace(rows)
    n_outputs, n_columns = proba.shape[0], rows.shape[1]
    size = n_outputs * n_columns
    by_class = xp.reshape(hessian, (n_outputs, n_columns, n_outputs, n_columns))
    step = max(_OUTER_ROWS, _FOREIGN_OUTER_BYTES // (8 * size))
    blocks = [by_class[k, :, k, :] + 0.0 for k in range(n_outputs)]
    for start in range(0, rows.shape[0], step):
        part = slice(start, min(start + step, rows.shape[0]))
        z, p, w = rows[part, :], proba[:, part], weight[part]
        v = variance[:, part]
        outer = (p * xp.sqrt(w)).T[:, :, None] * z[:, None, :]
        outer = xp.reshape(outer, (z.shape[0], size))
        hessian -= outer.T @ outer
        for k in range(n_outputs):
            blocks[k] += z.T @ ((v[k, :] * w)[:, None] * z)
    for k in range(n_outputs):
        by_class[k, :, k, :] = blocks[k]
