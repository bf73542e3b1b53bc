"""How many rows a block has: as many as stay in the cache between two products."""

import numpy as np

from .._arrays import portable

# A block of X and its logits should share what a core has of the caches (bytes). In smaller ones
# threads mostly wait for the interpreter lock.
_CACHE_BYTES = 3 << 20
_MIN_ROWS, _MAX_ROWS = 512, 16384
# Logits of a sparse block for which memory is always worth its while (bytes).
_SPARSE_BYTES = 1 << 20
# The same on a GPU, where the cache is that of the second level.
_GPU_CACHE_BYTES = 32 << 20
_GPU_SPARSE_BYTES = 256 << 20
# Compiled loops take care of the cache themselves. A call of them costs some microseconds.
MIN_COMPILED_ROWS = 8192


def block_rows(X, dtype, n_classes):
    """Return how many rows of X make a block.

    Parameters
    ----------
    X : array or sparse matrix of shape (n_samples, n_features)
        All rows, of any library.
    dtype : dtype
        The dtype that their products are taken in.
    n_classes : int
        Number of classes.
    """
    n_features = X.shape[1]
    is_on_gpu = portable.is_foreign(X) and portable.is_on_gpu(X)
    if hasattr(X, "indptr"):
        affordable = (_GPU_SPARSE_BYTES if is_on_gpu else _SPARSE_BYTES) // (8 * n_classes)
        # A sparse block adds to a whole n_classes x n_features gradient. With as many rows as
        # there are features, its logits take no more memory than that does.
        return max(1, affordable) if is_on_gpu else max(n_features, affordable, _MIN_ROWS)
    row_bytes = dtype.itemsize * max(n_features, n_classes)
    if is_on_gpu:
        return max(1, _GPU_CACHE_BYTES // row_bytes)
    return int(np.clip(_CACHE_BYTES // row_bytes, _MIN_ROWS, _MAX_ROWS))


def even_size(n_rows, size):
    """Return a size of blocks, at most ``size``, that are shared evenly among most threads."""
    n_blocks = max(4, -(-n_rows // size))
    n_blocks = 1 << (n_blocks - 1).bit_length() if n_blocks < 16 else -(-n_blocks // 16) * 16
    return -(-n_rows // n_blocks)
