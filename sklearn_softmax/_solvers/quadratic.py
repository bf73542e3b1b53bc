r"""The minimum of a convex quadratic plus weighted absolute values, within bounds.

.. math::
    \min_u \; g^\top (u - v) + \tfrac12 (u - v)^\top H (u - v) + \sum_t \lambda_t |u_t| ,
    \qquad |u_t - v_t| \le r_t

Coordinate descent in covariance form [1]_ finds which coordinates are zero: a step along one of
them costs a row of H. Where coordinates are correlated it crawls, and Newton's steps do the rest:
with the signs held the problem is smooth, and one Cholesky factor of H on the support solves it.

References
----------
.. [1] J. Friedman, T. Hastie, R. Tibshirani, "Regularization paths for generalized linear models
   via coordinate descent", J. Stat. Softw. 33 (2010).
"""

import numpy as np
from scipy.linalg import lapack

from .._arrays.portable import at_least, namespace

# Rounds of a few sweeps and a Newton step, at most.
_MAX_ROUNDS = 20
# Sweeps of the first round, which has to find the support, and of the others.
_FIRST_SWEEPS, _SWEEPS = 8, 2
# Rounds end after so many in a row that have not brought the slope to this share of the least.
_PATIENCE, _PROGRESS = 6, 0.9
# How often a Newton step may go on without what it has brought to zero.
_MAX_REDUCTIONS = 10
# What is added to a diagonal of 1 first, and by what it grows where that is not enough.
_RIDGE, _GROWTH = 1e-14, 10.0


def minimise(hessian, gradient, start, l1, radius, accuracy):
    """Return the minimiser u, and the slope of the quadratic part there.

    Parameters
    ----------
    hessian : ndarray of shape (n, n)
        H, symmetric, with a positive diagonal.
    gradient, start : ndarray of shape (n,)
        g and v.
    l1 : ndarray of shape (n,)
        The weights; 0 for coordinates that are free.
    radius : ndarray of shape (n,) or float
        The r; infinite for no bounds.
    accuracy : float
        The slope that may be left, relative to that at the start.
    """
    point, slope = start.copy(), gradient.copy()
    bounds = start - radius, start + radius
    diagonal = hessian.diagonal().copy()
    least = _slope_left(point, slope, l1, bounds, diagonal)
    enough, n_in_vain = accuracy * least, 0
    for i in range(_MAX_ROUNDS):
        n_sweeps = _FIRST_SWEEPS if i == 0 else _SWEEPS
        _sweep(hessian, diagonal, slope, point, l1, bounds, n_sweeps)
        # (Sweeps may leave little slope far from the minimum: what is flat is Newton's.)
        _newton_steps(hessian, diagonal, slope, point, l1, bounds)
        left = _slope_left(point, slope, l1, bounds, diagonal)
        n_in_vain = n_in_vain + 1 if left > _PROGRESS * least else 0
        least = min(left, least)
        if left <= enough or n_in_vain >= _PATIENCE:
            break
    return point, slope


def steepest(point, slope, l1):
    """Return the subgradient of least size: what is left of the slope at zeros, and elsewhere."""
    xp = namespace(point)
    at_zero = xp.sign(slope) * at_least(xp.abs(slope) - l1, 0.0)
    return xp.where(point != 0, slope + l1 * xp.sign(point), at_zero)


def _slope_left(point, slope, l1, bounds, diagonal):
    """Return the norm of the steepest descent that the bounds allow."""
    left = steepest(point, slope, l1)
    is_stopped = ((left > 0) & (point <= bounds[0])) | ((left < 0) & (point >= bounds[1]))
    left[is_stopped] = 0.0
    return float(np.sqrt(np.sum(left * left / diagonal)))


def _sweep(hessian, diagonal, slope, point, l1, bounds, n_sweeps):
    """Minimise by one coordinate after the other, in place."""
    lower, upper = bounds
    for _ in range(n_sweeps):
        # Most zeros stay: only what would move now is looked at.
        for t in np.flatnonzero((point != 0) | (np.abs(slope) > l1)):
            curvature, before, weight = diagonal[t], point[t], l1[t]
            pull = curvature * before - slope[t]
            wanted = (pull - weight if pull > 0 else pull + weight) / curvature
            new = 0.0 if abs(pull) <= weight else wanted
            new = min(max(new, lower[t]), upper[t])
            if new != before:
                point[t] = new
                slope += (new - before) * hessian[t]


def _newton_steps(hessian, diagonal, slope, point, l1, bounds):
    """Minimise over the support with the signs held, in place.

    Parameters that reach zero, or a bound, stay there, and the others go on without them.
    """
    for _ in range(_MAX_REDUCTIONS):
        is_inside = (point > bounds[0]) & (point < bounds[1])
        support = np.flatnonzero(((point != 0) | (l1 == 0)) & is_inside)
        if not len(support):
            return
        sign = np.where(l1[support] > 0, np.sign(point[support]), 0.0)
        lower = np.where(sign > 0, np.maximum(bounds[0][support], 0.0), bounds[0][support])
        upper = np.where(sign < 0, np.minimum(bounds[1][support], 0.0), bounds[1][support])
        inner = hessian[np.ix_(support, support)]
        downhill = -(slope[support] + l1[support] * sign)
        step = _solve(inner, diagonal[support], downhill)
        here = point[support]
        target = np.clip(here + step, lower, upper)
        is_whole = np.array_equal(target, here + step)
        change = target - here
        if not is_whole and not change @ downhill > 0.5 * change @ (inner @ change):
            # All that cross at once would lead up: only the first one does.
            room = np.where(step > 0, upper, lower) - here
            share = np.divide(room, step, out=np.full_like(step, np.inf), where=step != 0)
            first = float(np.min(share))
            ends = np.where(step > 0, upper, lower)
            target = np.where(share <= first, ends, here + first * step)
            change = target - here
        point[support] = target
        slope += change @ hessian[support]
        if is_whole:
            return


def _solve(matrix, diagonal, vector):
    """Return the solution of a positive semi-definite system, made definite where it must be."""
    scale = 1.0 / np.sqrt(diagonal)
    scaled = matrix * scale * scale[:, None]
    ridge = _RIDGE * len(vector)
    while True:
        np.fill_diagonal(scaled, 1.0 + ridge)
        factor, failed = lapack.dpotrf(scaled, lower=1, clean=0)
        if not failed:
            solution, _ = lapack.dpotrs(factor, scale * vector, lower=1)
            return scale * solution
        ridge *= _GROWTH
