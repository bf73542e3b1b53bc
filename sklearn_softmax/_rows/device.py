"""Rows on a device: arrays of CuPy, of PyTorch, or of any library of the array API standard.

Arrays with an entry for each row, and arrays as large as the parameters, are where X is. Only
numbers come back to the host.
"""

from .._arrays import portable
from .blocks import RowBlocks


class DeviceRows(RowBlocks):
    """Rows whose products are taken on the device that they are on.

    Parameters are those of :class:`RowBlocks`; ``y``, ``weight`` and ``class_weight`` are NumPy
    arrays, which are moved once.
    """

    is_numpy = False

    def __init__(self, X, y=None, weight=None, **options):
        # (Arrays that are made like this empty one are on the device, and dense.)
        self.sample = portable.empty_like_dense(X)
        super().__init__(X, y, weight, **options)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def place(self, values):
        """Return a NumPy array on the device; None as it is."""
        return portable.as_like(values, self.sample)

    def head(self, n_rows):
        """Return the first rows; as :meth:`RowBlocks.head`."""
        stop = int(self.order()[:n_rows][-1]) + 1
        weight = None if self.host_weight is None else self.host_weight[:stop]
        return DeviceRows(self.X[:stop, :], None, weight, n_classes=self.n_classes)

    @property
    def sparse_share(self):
        """Nothing: compiled loops are for SciPy's matrices."""
        return None
