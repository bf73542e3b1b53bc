"""Rows on a device: arrays of CuPy, of PyTorch, or of any library of the array API standard.

Arrays with an entry for each row, and arrays as large as the parameters, are where X is. Only
numbers come back to the host.
"""

import numpy as np

from .._arrays import portable
from .blocks import RowBlocks

# A block of X and its logits should share the second-level cache of a GPU (bytes).
_GPU_CACHE_BYTES = 32 << 20
_SPARSE_LOGITS_BYTES = 256 << 20


class DeviceRows(RowBlocks):
    """Rows whose products are taken on the device that they are on.

    Parameters are those of :class:`RowBlocks`; ``y``, ``weight`` and ``class_weight`` are NumPy
    arrays, which are moved once.
    """

    is_numpy = False

    def __init__(self, X, y=None, weight=None, **options):
        # (Dense and empty: what is made "like" it is on the device.)
        self.sample = portable.empty_like_dense(X)
        super().__init__(X, self.place(y), weight, **options)
        self.class_weight = self.place(self.class_weight)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def set_weight(self, weight):
        """Give the rows other weights, a NumPy array of shape (n_samples,), or None."""
        super().set_weight(weight)
        self.weight = self.place(weight)

    def place(self, values):
        """Return a NumPy array on the device."""
        return portable.as_like(values, self.sample)

    def order(self, rng=None):
        """Return the positions of the rows of positive weight; as :meth:`RowBlocks.order`."""
        weight = self._host_weight
        rows = np.arange(self.n_rows) if weight is None else np.flatnonzero(weight)
        return rows if rng is None else rng.permutation(rows)

    def head(self, n_rows):
        """Return the first rows; as :meth:`RowBlocks.head`."""
        stop = int(self.order()[:n_rows][-1]) + 1
        weight = None if self._host_weight is None else self._host_weight[:stop]
        return DeviceRows(self.X[:stop, :], None, weight, n_classes=self.n_classes)

    def _choose_block_rows(self):
        if not portable.is_on_gpu(self.X):
            return super()._choose_block_rows()
        if self.is_sparse:
            return max(1, _SPARSE_LOGITS_BYTES // (8 * self.n_classes))
        row_bytes = self.dtype.itemsize * max(self.n_features, self.n_classes)
        return max(1, _GPU_CACHE_BYTES // row_bytes)

    @property
    def sparse_share(self):
        """Nothing: compiled loops are for SciPy's matrices."""
        return None
