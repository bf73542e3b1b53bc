"""Principal axes of rows: the directions in which they vary independently of each other."""

import numpy as np

from .._arrays.portable import diagonal_matrix, namespace, zeros

# Relative to the largest, a variance along an axis below which it is rounding errors of the rows,
# and a gradient along it, too.
LEAST_VARIANCE = 1e-23
# Eigenvalues smaller than this, relative to the largest, are taken for 0.
_RANK_TOLERANCE = 1e-10


def principal_axes(sample, metric):
    """Return the eigenvectors of the second moments of ``rows * metric``.

    And whether they span everything.
    """
    xp = namespace(metric)
    n_columns = metric.shape[0]
    if sample.n_rows >= n_columns:
        moments = zeros((n_columns, n_columns), metric)
        for part, rows in sample.parts():
            moments += rows.T @ (rows * sample.weight[part, None])
        moments *= metric * metric[:, None]
        if _is_diagonal(moments):
            return diagonal_matrix(xp.ones_like(metric)), True
        values, vectors = xp.linalg.eigh(moments)
        if float(values[0]) < _RANK_TOLERANCE * float(values[-1]):
            vectors = collinear_axes(sample, metric)[0]
        return vectors, True
    rows, weight = sample.at_once()
    rows = rows * metric * xp.sqrt(weight)[:, None]
    values, vectors = xp.linalg.eigh(rows @ rows.T)
    # (They ascend.)
    first = int(xp.sum(xp.astype(values <= _RANK_TOLERANCE * values[-1], xp.int64)))
    # The smallest come out with few digits; what is left beside the basis must be orthogonal.
    return xp.linalg.qr(rows.T @ (vectors[:, first:] / xp.sqrt(values[first:])))[0], False


def collinear_axes(sample, metric):
    """Return the principal axes of ``rows * metric``, and the rows' root mean squares along them.

    Second moments show directions in which the rows' share of the variance is above the rounding
    unit. The rows themselves, of which these are the singular vectors, show its square.
    """
    xp = namespace(metric)
    n_columns = metric.shape[0]
    stacked = []
    for part, rows in sample.parts():
        stacked.append(rows * metric * xp.sqrt(sample.weight[part])[:, None])
        if sum(part.shape[0] for part in stacked) >= 2 * n_columns:
            stacked = [xp.linalg.qr(xp.concat(stacked, axis=0))[1]]
    triangle = xp.linalg.qr(xp.concat(stacked, axis=0))[1]
    _, found, vectors = xp.linalg.svd(triangle)
    # Along the others there is nothing.
    sizes = xp.zeros_like(metric)
    sizes[: found.shape[0]] = found
    return vectors.T, sizes


def _is_diagonal(moments):
    """Return whether features are known not to be correlated, as principal components are."""
    if not isinstance(moments, np.ndarray):
        return False
    rest = moments - np.diag(np.diagonal(moments))
    return bool(np.abs(rest).max() <= _RANK_TOLERANCE * np.diagonal(moments).max())
