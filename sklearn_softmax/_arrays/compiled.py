r"""Loss and gradient of rows in compiled loops, for large fits where Numba is installed.

Array libraries read a block of X once for each of its two matrix products, and the logits
several times in between. These loops take a few rows at a time. They convert them, multiply, and
add to the gradient while the rows are in the first-level cache. Without Numba, NumPy's path in
:mod:`sklearn_softmax._objective.linear` computes the same.

Products with sparse rows release the interpreter lock here, so that threads can share them.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Rows and classes of a tile of inner products, which are held in registers.
_TILE = 4
# Rows whose softmax is taken together.
_ROWS = 32
# Features are padded to whole vectors.
_TILE_FEATURES = 16
# Sums may be reordered and multiplications fused; infinities and NaN keep their meaning.
_REORDERED = {"reassoc", "contract", "arcp", "nsz"}
_NO_WEIGHT = np.empty(0)

_LOG2_E = 1.4426950408889634
# ln 2 in two parts, so that k ln 2 is exact in the first [Cody & Waite 1980].
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
# Added and subtracted, it leaves the nearest integer.
_ROUNDER = 6755399441055744.0
_LEAST_EXPONENT = -708.0


def add_dense(X, y, weight, label_smoothing, coef, intercept, coef_gradient, intercept_gradient):
    """Add the rows' sums of the derivatives to two arrays; return their summed loss.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Of any real dtype.
    y : ndarray of shape (n_rows,)
        Class codes.
    weight : ndarray of shape (n_rows,) or None
    label_smoothing : float
    coef : ndarray of shape (n_outputs, n_features)
        In the dtype to compute in, as is ``intercept``.
    intercept : ndarray of shape (n_outputs,)
    coef_gradient : ndarray of shape (n_outputs, n_features), float64
    intercept_gradient : ndarray of shape (n_outputs,), float64
    """
    n_outputs, n_features = coef.shape
    intercept = _with_reference(intercept)
    n_classes = len(intercept)
    shape = _padded(n_classes, _TILE), _padded(n_features, _TILE_FEATURES)
    padded = np.zeros(shape, dtype=coef.dtype)
    padded[n_classes - n_outputs : n_classes, :n_features] = coef
    gradient = np.zeros_like(padded)
    loss = _add_dense(
        np.asarray(X),  # Numba does not know of memory maps
        y,
        _NO_WEIGHT if weight is None else weight,
        label_smoothing,
        padded,
        intercept,
        gradient,
        intercept_gradient,
    )
    coef_gradient += gradient[n_classes - n_outputs : n_classes, :n_features]
    return loss


def multiply_sparse(X, coef, logits, start, stop):
    """Set ``logits[:, start:stop]`` to the products of coefficients with rows of a CSR matrix.

    ``coef`` (n_outputs, n_features) is in Fortran order: what a feature adds lies together.
    """
    _multiply_sparse(X.data, X.indices, X.indptr, coef.T, logits, start, stop)


def add_sparse(X, residuals, gradient, low, high):
    """Add ``residuals @ X`` to ``gradient[:, low:high]``, for a CSR matrix.

    ``gradient`` is in Fortran order, as the coefficients are.
    """
    _add_sparse(X.data, X.indices, X.indptr, residuals, gradient.T, low, high)


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def settle_rows(matrix, index, shrinkage, toll, average, kept, is_averaged):
    """Do what :func:`sklearn_softmax._arrays.native.settle_rows` does."""
    for k in range(len(index)):
        row, mean = matrix[index[k]], average[index[k]]
        for c in range(matrix.shape[1]):
            size = abs(row[c]) - toll[k]
            value = shrinkage[k] * (size if size > 0 else 0.0)
            value = value if row[c] >= 0 else -value
            if is_averaged:
                mean[c] = value + kept[k] * (mean[c] - value)
            row[c] = value


def _with_reference(intercept):
    """Give a single output the first class's intercept, which is 0."""
    return intercept if len(intercept) > 1 else np.append(np.zeros_like(intercept), intercept)


def _padded(size, multiple):
    return -(-size // multiple) * multiple


@intrinsic
def _double_of_bits(_, bits):
    """Return the float64 that has the bits of an int64."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _exp(x):
    """Return exp(x) for x <= 0 to the last digit, in a form that becomes vector instructions.

    x = k ln 2 + r; the Taylor series of exp(r) is exact in float64 after 13 terms.
    """
    x = _LEAST_EXPONENT if x < _LEAST_EXPONENT else x
    k = (x * _LOG2_E + _ROUNDER) - _ROUNDER
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * _double_of_bits((np.int64(k) + 1023) << 52)  # type: ignore[call-arg]


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _add_dense(X, y, weight, smoothing, coef, intercept, coef_gradient, intercept_gradient):
    n_rows, n_features = X.shape
    n_classes = len(intercept)
    first = n_classes - len(intercept_gradient)
    rows = np.zeros((_ROWS, coef.shape[1]), dtype=coef.dtype)
    logits = np.zeros((len(coef), _ROWS), dtype=coef.dtype)
    scratch = np.zeros((4, _ROWS), dtype=coef.dtype)
    loss = 0.0
    for start in range(0, n_rows, _ROWS):
        n_taken = min(_ROWS, n_rows - start)
        for r in range(0, n_taken, _TILE):
            for i in range(r, min(r + _TILE, n_taken)):
                for j in range(n_features):
                    rows[i, j] = X[start + i, j]
            for c in range(0, len(coef), _TILE):
                _multiply_tile(coef, rows, c, r, logits)
        loss += _residuals(logits, y, weight, smoothing, intercept, start, n_taken, scratch)
        for r in range(0, n_taken, _TILE):
            for c in range(0, len(coef), _TILE):
                _add_tile(coef_gradient, logits, rows, c, r)
        for c in range(first, n_classes):
            total = 0.0
            for r in range(_ROWS):
                total += logits[c, r]
            intercept_gradient[c - first] += total
    return loss


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _multiply_tile(coef, rows, c, r, logits):
    """Set four by four logits to the inner products of coefficients and rows."""
    w0, w1, w2, w3 = coef[c], coef[c + 1], coef[c + 2], coef[c + 3]
    x0, x1, x2, x3 = rows[r], rows[r + 1], rows[r + 2], rows[r + 3]
    zero = coef.dtype.type(0)
    a00 = a01 = a02 = a03 = zero
    a10 = a11 = a12 = a13 = zero
    a20 = a21 = a22 = a23 = zero
    a30 = a31 = a32 = a33 = zero
    for j in range(coef.shape[1]):
        u0, u1, u2, u3 = w0[j], w1[j], w2[j], w3[j]
        x = x0[j]
        a00, a10, a20, a30 = a00 + u0 * x, a10 + u1 * x, a20 + u2 * x, a30 + u3 * x
        x = x1[j]
        a01, a11, a21, a31 = a01 + u0 * x, a11 + u1 * x, a21 + u2 * x, a31 + u3 * x
        x = x2[j]
        a02, a12, a22, a32 = a02 + u0 * x, a12 + u1 * x, a22 + u2 * x, a32 + u3 * x
        x = x3[j]
        a03, a13, a23, a33 = a03 + u0 * x, a13 + u1 * x, a23 + u2 * x, a33 + u3 * x
    logits[c, r], logits[c, r + 1], logits[c, r + 2], logits[c, r + 3] = a00, a01, a02, a03
    c += 1
    logits[c, r], logits[c, r + 1], logits[c, r + 2], logits[c, r + 3] = a10, a11, a12, a13
    c += 1
    logits[c, r], logits[c, r + 1], logits[c, r + 2], logits[c, r + 3] = a20, a21, a22, a23
    c += 1
    logits[c, r], logits[c, r + 1], logits[c, r + 2], logits[c, r + 3] = a30, a31, a32, a33


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _residuals(logits, y, weight, smoothing, intercept, start, n_taken, scratch):
    """Turn products into weighted softmax(logits) - targets, row by lane; return the loss."""
    n_classes = len(intercept)
    largest, total, mean, factor = scratch[0], scratch[1], scratch[2], scratch[3]
    for r in range(_ROWS):
        largest[r] = logits[0, r] + intercept[0]
        total[r] = mean[r] = factor[r] = 0
    for c in range(n_classes):
        for r in range(_ROWS):
            logit = logits[c, r] + intercept[c]
            logits[c, r] = logit
            largest[r] = logit if logit > largest[r] else largest[r]
    for c in range(n_classes):
        for r in range(_ROWS):
            logits[c, r] -= largest[r]
    if smoothing:
        for c in range(n_classes):
            for r in range(_ROWS):
                mean[r] += logits[c, r] / n_classes
    loss = 0.0
    for r in range(n_taken):
        factor[r] = weight[start + r] if len(weight) else 1.0
        target = (1 - smoothing) * logits[y[start + r], r] + smoothing * mean[r]
        loss -= factor[r] * target
    powers = logits.reshape(-1)
    for k in range(n_classes * _ROWS):
        powers[k] = _exp(powers[k])
    for c in range(n_classes):
        for r in range(_ROWS):
            total[r] += logits[c, r]
    for r in range(n_taken):
        loss += factor[r] * np.log(total[r])
    for r in range(_ROWS):
        total[r] = factor[r] / total[r]
        factor[r] *= smoothing / n_classes
    for c in range(n_classes):
        for r in range(_ROWS):
            logits[c, r] = logits[c, r] * total[r] - factor[r]
    for r in range(n_taken):
        row_weight = weight[start + r] if len(weight) else 1.0
        logits[y[start + r], r] -= row_weight * (1 - smoothing)
    return loss


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _add_tile(gradient, residuals, rows, c, r):
    """Add four residuals times rows to four classes of the gradient."""
    a0, a1, a2, a3 = residuals[c, r], residuals[c, r + 1], residuals[c, r + 2], residuals[c, r + 3]
    b0, b1, b2, b3 = (
        residuals[c + 1, r],
        residuals[c + 1, r + 1],
        residuals[c + 1, r + 2],
        residuals[c + 1, r + 3],
    )
    c0, c1, c2, c3 = (
        residuals[c + 2, r],
        residuals[c + 2, r + 1],
        residuals[c + 2, r + 2],
        residuals[c + 2, r + 3],
    )
    d0, d1, d2, d3 = (
        residuals[c + 3, r],
        residuals[c + 3, r + 1],
        residuals[c + 3, r + 2],
        residuals[c + 3, r + 3],
    )
    g0, g1, g2, g3 = gradient[c], gradient[c + 1], gradient[c + 2], gradient[c + 3]
    x0, x1, x2, x3 = rows[r], rows[r + 1], rows[r + 2], rows[r + 3]
    for j in range(rows.shape[1]):
        u0, u1, u2, u3 = x0[j], x1[j], x2[j], x3[j]
        g0[j] += a0 * u0 + a1 * u1 + a2 * u2 + a3 * u3
        g1[j] += b0 * u0 + b1 * u1 + b2 * u2 + b3 * u3
        g2[j] += c0 * u0 + c1 * u1 + c2 * u2 + c3 * u3
        g3[j] += d0 * u0 + d1 * u1 + d2 * u2 + d3 * u3


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _multiply_sparse(data, indices, indptr, coef, logits, start, stop):
    n_outputs = coef.shape[1]
    totals = np.empty(n_outputs, dtype=coef.dtype)
    for i in range(start, stop):
        totals[:] = 0
        for p in range(indptr[i], indptr[i + 1]):
            column, value = coef[indices[p]], data[p]
            for c in range(n_outputs):
                totals[c] += value * column[c]
        for c in range(n_outputs):
            logits[c, i] = totals[c]


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _add_sparse(data, indices, indptr, residuals, gradient, low, high):
    n_outputs = gradient.shape[1]
    residual = np.empty(n_outputs, dtype=residuals.dtype)
    for i in range(len(indptr) - 1):
        for c in range(n_outputs):
            residual[c] = residuals[c, i]
        for p in range(indptr[i], indptr[i + 1]):
            # (The test in one piece, around what follows, takes twice the time.)
            if indices[p] < low or indices[p] >= high:
                continue
            column, value = gradient[indices[p]], data[p]
            for c in range(n_outputs):
                column[c] += value * residual[c]
