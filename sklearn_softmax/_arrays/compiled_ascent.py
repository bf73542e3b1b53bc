r"""One sweep of dual coordinate ascent in compiled loops.

See :mod:`sklearn_softmax._solvers.dual_ascent`.

This is the step of a row. With logits o, dual vector a and curvature q, the new probabilities are
those of the logits z that solve

.. math::
    z + q \,(p(z) - t) = o - q \, a , \qquad p = \operatorname{softmax}(z) ,

for the row's target t; the new dual vector is :math:`t - p(z)`. The left side is the gradient of
a strictly convex function, with the Jacobian :math:`I + q (\operatorname{diag}(p) - p p^\top)`,
which the Sherman-Morrison formula inverts: Newton's method takes a few multiplications a class.
"""

import numba
import numpy as np

from .compiled import _REORDERED, _exp

# Newton's method ends when no logit moves further than this: the error left is of its square.
_SMALL_STEP = 0.3
# A longer step than this leaves the region where the second derivatives are what they were.
_LONGEST_STEP = 2.0
_MAX_STEPS = 20


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def sweep_sparse(
    data,
    indices,
    indptr,
    order,
    y,
    weight,
    smoothing,
    strength,
    reach,
    coef,
    intercept,
    duals,
):
    """Take a step for each row of a CSR matrix; return the summed loss and the duality gap.

    Parameters
    ----------
    data, indices, indptr : ndarray
        Of the CSR matrix.
    order : ndarray of int, of shape (n_taken,)
        The rows, in the order of their steps.
    y : ndarray of int, of shape (n_rows,)
        Class codes.
    weight : ndarray of shape (n_rows,), or empty
        Empty where all are 1.
    smoothing : float
        Label smoothing.
    strength : float
        C: how much of a row is added to the coefficients for each unit of its dual vector.
    reach : float
        The same for the intercept, as a multiple of ``strength``.
    coef : ndarray of shape (n_features, n_outputs), float64
        Changed in place, as are ``intercept`` (n_outputs,) and ``duals`` (n_rows, n_outputs).

    Returns
    -------
    loss, gap : float
        As the rows were when it was their turn.
    """
    n_outputs = coef.shape[1]
    logits, change = np.empty(n_outputs), np.empty(n_outputs)
    scratch = np.empty((5, n_outputs))
    total_loss = total_gap = 0.0
    for k in range(len(order)):
        i = order[k]
        row_weight = weight[i] if len(weight) else 1.0
        rate = strength * row_weight
        for c in range(n_outputs):
            logits[c] = intercept[c]
        square = reach
        for p in range(indptr[i], indptr[i + 1]):
            row, value = coef[indices[p]], data[p]
            square += value * value
            for c in range(n_outputs):
                logits[c] += value * row[c]
        loss, gap = _step(logits, y[i], smoothing, rate * square, duals[i], change, scratch)
        total_loss += row_weight * loss
        total_gap += row_weight * gap
        for c in range(n_outputs):
            change[c] *= rate
            intercept[c] += reach * change[c]
        for p in range(indptr[i], indptr[i + 1]):
            row, value = coef[indices[p]], data[p]
            for c in range(n_outputs):
                row[c] += value * change[c]
    return total_loss, total_gap


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _step(logits, label, smoothing, curvature, dual, change, scratch):
    """Replace a row's dual vector, and set ``change`` to how; return its loss and gap before."""
    n_outputs = len(logits)
    moved, proba, target = scratch[0], scratch[1], scratch[2]
    share, step = scratch[3], scratch[4]
    n_classes = max(n_outputs, 2)
    code = label - 1 if n_outputs == 1 else label  # (of a single output, -1 is the other class)
    spread = smoothing / n_classes
    mean = 0.0
    for c in range(n_outputs):
        target[c] = spread + (1 - smoothing if c == code else 0.0)
        moved[c] = logits[c]
        mean += logits[c] / n_classes
    loss = _softmax(moved, proba) - smoothing * mean
    if code >= 0:
        loss -= (1 - smoothing) * logits[code]
    # The gap is the Kullback-Leibler divergence of two distributions; this is half the
    # chi-squared, which it comes close to as they do.
    gap = rest = 0.0
    for c in range(n_outputs):
        difference = proba[c] + dual[c] - target[c]
        gap += 0.5 * difference * difference / max(proba[c], target[c] - dual[c], 1e-300)
        rest += difference
    if n_outputs == 1:
        gap += 0.5 * rest * rest / max(1 - proba[0], 1e-300)
    for _ in range(_MAX_STEPS):
        product = square = 0.0
        for c in range(n_outputs):
            error = moved[c] - logits[c] + curvature * (proba[c] + dual[c] - target[c])
            inverse = 1 / (1 + curvature * proba[c])
            step[c] = error * inverse
            share[c] = proba[c] * inverse
            product += proba[c] * step[c]
            square += proba[c] * share[c]
        factor = curvature * product / (1 - curvature * square)
        longest = 0.0
        for c in range(n_outputs):
            step[c] += factor * share[c]
            longest = max(longest, abs(step[c]))
        length = min(1.0, _LONGEST_STEP / max(longest, 1e-300))
        for c in range(n_outputs):
            moved[c] -= length * step[c]
        _softmax(moved, proba)
        if longest < _SMALL_STEP:
            break
    for c in range(n_outputs):
        change[c] = target[c] - proba[c] - dual[c]
        dual[c] += change[c]
    return loss, gap


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _softmax(logits, proba):
    """Set the probabilities of a row's outputs; return the logarithm of the sum of powers."""
    n_outputs = len(logits)
    largest = 0.0 if n_outputs == 1 else logits[0]
    for c in range(n_outputs):
        largest = max(largest, logits[c])
    for c in range(n_outputs):
        proba[c] = _exp(logits[c] - largest)
    total = np.exp(-largest) if n_outputs == 1 else 0.0
    for c in range(n_outputs):
        total += proba[c]
    for c in range(n_outputs):
        proba[c] /= total
    return largest + np.log(total)
