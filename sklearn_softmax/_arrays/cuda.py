"""Softmax, loss and gradient of a block of logits in one kernel, for CuPy.

One array library call for each step would read and write the logits a dozen times; the kernel
does so three times, while they are in the second-level cache. Logits are class-major, so the
threads of a warp, which take one row each, read along contiguous memory; eight warps share the
classes of 32 rows.
"""

import functools

import numpy as np

_ROWS, _LANES = 32, 8
_SOURCE = r"""
#define ROWS 32
#define LANES 8

extern "C" __global__ void softmax_residual(
    REAL* logits,             // (n_classes, n_rows): becomes the derivative of the loss by them
    const REAL* intercept,    // (n_classes,), added to the logits; or null
    const long long* y,       // (n_rows,): class codes
    const double* weight,     // (n_rows,), or null
    const double smoothing,
    const int n_classes,
    const long long n_rows,
    double* losses)           // (n_blocks,): the weighted sum of each block's rows
{
    __shared__ REAL shared[LANES][ROWS];
    __shared__ REAL target[ROWS];
    __shared__ double row_losses[ROWS];
    const int r = threadIdx.x, lane = threadIdx.y;
    const long long row = (long long)blockIdx.x * ROWS + r;
    const bool is_inside = row < n_rows;
    const long long label = is_inside ? y[row] : -1;

    REAL largest = LOWEST;
    if (is_inside)
        for (int k = lane; k < n_classes; k += LANES) {
            REAL* at = logits + k * n_rows + row;
            const REAL logit = *at + (intercept ? intercept[k] : (REAL)0);
            *at = logit;
            largest = logit <= largest ? largest : logit;  // (NaN is passed on)
        }
    shared[lane][r] = largest;
    __syncthreads();
    for (int i = 0; i < LANES; ++i)
        largest = shared[i][r] <= largest ? largest : shared[i][r];
    __syncthreads();

    REAL total = 0, mean = 0;
    if (is_inside)
        for (int k = lane; k < n_classes; k += LANES) {
            REAL* at = logits + k * n_rows + row;
            const REAL shifted = *at - largest;
            if (k == label) target[r] = shifted;
            mean += shifted;
            const REAL power = exp(shifted);
            *at = power;
            total += power;
        }
    shared[lane][r] = total;
    __syncthreads();
    total = 0;
    for (int i = 0; i < LANES; ++i) total += shared[i][r];
    __syncthreads();
    shared[lane][r] = mean;
    __syncthreads();

    const double row_weight = is_inside && weight ? weight[row] : 1.0;
    if (is_inside) {
        const REAL scale = (REAL)row_weight / total;
        const REAL uniform = (REAL)(row_weight * smoothing / n_classes);
        for (int k = lane; k < n_classes; k += LANES) {
            REAL* at = logits + k * n_rows + row;
            REAL residual = *at * scale - uniform;
            if (k == label) residual -= (REAL)(row_weight * (1.0 - smoothing));
            *at = residual;
        }
    }
    if (lane == 0) {
        mean = 0;
        for (int i = 0; i < LANES; ++i) mean += shared[i][r];
        row_losses[r] = is_inside
            ? row_weight * (log((double)total) - (1.0 - smoothing) * target[r]
                            - smoothing * mean / n_classes)
            : 0.0;
    }
    __syncthreads();
    if (r == 0 && lane == 0) {  // (In order: the same bits every time.)
        double loss = 0;
        for (int i = 0; i < ROWS; ++i) loss += row_losses[i];
        losses[blockIdx.x] = loss;
    }
}
"""
_TYPES = {"float32": ("float", "-3.0e38f"), "float64": ("double", "-1.7e308")}


def source_of(dtype):
    """Return the kernel's source for float32 or float64 logits."""
    real, lowest = _TYPES[np.dtype(dtype).name]
    return f"#define REAL {real}\n#define LOWEST ({lowest})\n{_SOURCE}"


@functools.cache
def _kernel(dtype):
    import cupy

    return cupy.RawKernel(source_of(dtype), "softmax_residual")


def loss_residual(logits, intercept, y, weight, label_smoothing):
    """Return the sum of the losses, and their derivative by the logits, over which it is written.

    Parameters
    ----------
    logits : cupy.ndarray of shape (n_classes, n_rows)
    intercept : cupy.ndarray of shape (n_classes,) or None
        Added to the logits; in their dtype.
    y : cupy.ndarray of int64, of shape (n_rows,)
        Class codes.
    weight : cupy.ndarray of float64, of shape (n_rows,), or None
    label_smoothing : float

    Returns
    -------
    loss : cupy.ndarray of shape (), float64
    residual : cupy.ndarray of shape (n_classes, n_rows)
    """
    import cupy

    logits = cupy.ascontiguousarray(logits)
    n_classes, n_rows = logits.shape
    n_blocks = -(-n_rows // _ROWS)
    losses = cupy.empty(n_blocks, dtype=cupy.float64)
    absent = np.uintp(0)
    arguments = (
        logits,
        absent if intercept is None else intercept,
        y,
        absent if weight is None else weight,
        np.float64(label_smoothing),
        np.int32(n_classes),
        np.int64(n_rows),
        losses,
    )
    _kernel(logits.dtype.name)((n_blocks,), (_ROWS, _LANES), arguments)
    return cupy.sum(losses), logits
