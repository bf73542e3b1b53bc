r"""Sweeps of coordinate descent over a quadratic model of the cross-entropy, in compiled loops.

See :mod:`sklearn_softmax._curvature.entries`. With D the logits of the step, p the probabilities
and w the weights of the rows, the model's derivative by the coefficient of class k and feature j is

.. math:: g_{kj} + \sum_i w_i x_{ij} p_{ik} (D_{ik} - s_i) , \qquad s_i = \sum_l p_{il} D_{il} ,

and its second derivative is :math:`\sum_i w_i x_{ij}^2 p_{ik} (1 - p_{ik})`. So a step along one
coefficient costs as much as its feature has entries, however many classes there are.
"""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def second_derivatives(data, indices, indptr, classes, features, variance, curvature):
    """Set the second derivatives of the loss by each pair of a class and a feature.

    Parameters
    ----------
    data, indices, indptr : ndarray
        The features, as a CSC matrix.
    classes, features : ndarray of int of shape (n_pairs,)
    variance : ndarray of shape (n_outputs, n_rows)
        The w p (1 - p).
    curvature : ndarray of shape (n_pairs,)
        The result.
    """
    for t in range(len(classes)):
        k, total = classes[t], 0.0
        for e in range(indptr[features[t]], indptr[features[t] + 1]):
            value = np.float64(data[e])
            total += value * value * variance[k, indices[e]]
        curvature[t] = total


@numba.njit(nogil=True, cache=True)
def sweep_pairs(
    data,
    indices,
    indptr,
    classes,
    features,
    weighted,
    proba,
    gradient,
    curvature,
    l1,
    l2,
    lower,
    upper,
    point,
    change,
    logits,
    shared,
    residual,
    takes_all,
):
    """Minimise along one coefficient after the other; return how far that was from minimal.

    Parameters
    ----------
    data, indices, indptr, classes, features, curvature
        As for :func:`second_derivatives`; pairs are ordered by class.
    weighted, proba : ndarray of shape (n_outputs, n_rows)
        The w p and the p.
    gradient : ndarray of shape (n_pairs,)
        The derivative of the smooth part where the step begins.
    l1, l2 : ndarray of shape (n_pairs,)
        Weights of the absolute values, and of the half squares.
    lower, upper : ndarray of shape (n_pairs,)
        Bounds of the coefficients.
    point, change : ndarray of shape (n_pairs,)
        The coefficients, and by how much they have changed; in place.
    logits : ndarray of shape (n_outputs, n_rows)
        The D; in place.
    shared : ndarray of shape (n_rows,)
        The s; in place.
    residual : ndarray of shape (n_rows,)
        Is overwritten.
    takes_all : bool
        Whether coefficients that are zero are looked at as well.

    Returns
    -------
    float
        The sum of the squares of the slopes that were found, each divided by the curvature.
    """
    n_rows, t, left = len(shared), 0, 0.0
    while t < len(classes):
        k = classes[t]
        for i in range(n_rows):
            residual[i] = weighted[k, i] * (logits[k, i] - shared[i])
        while t < len(classes) and classes[t] == k:
            if takes_all or point[t] != 0.0:
                first, last = indptr[features[t]], indptr[features[t] + 1]
                slope = gradient[t] + l2[t] * change[t]
                for e in range(first, last):
                    slope += np.float64(data[e]) * residual[indices[e]]
                bend = curvature[t] + l2[t]
                pull = bend * point[t] - slope
                new = 0.0
                if pull > l1[t]:
                    new = (pull - l1[t]) / bend
                elif pull < -l1[t]:
                    new = (pull + l1[t]) / bend
                new = min(max(new, lower[t]), upper[t])
                step = new - point[t]
                if step != 0.0:
                    left += step * step * bend
                    point[t] = new
                    change[t] += step
                    for e in range(first, last):
                        i, moved = indices[e], step * np.float64(data[e])
                        logits[k, i] += moved
                        shared[i] += moved * proba[k, i]
                        # (d/dD of w p (D - s), as s holds p D.)
                        residual[i] += weighted[k, i] * moved * (1.0 - proba[k, i])
            t += 1
    return left
