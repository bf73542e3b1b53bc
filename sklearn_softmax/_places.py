"""Where rows are: in memory, in a file, or on a device."""

from . import _arrays
from ._blocks import RowBlocks
from ._device import DeviceRows
from ._files import FileRows


def rows_of(X, y=None, weight=None, **options):
    """Return rows as what can sum over them; parameters as for :class:`RowBlocks`."""
    if _arrays.is_foreign(X):
        return DeviceRows(X, y, weight, **options)
    if _arrays.is_sliceable(X):
        return FileRows(X, y, weight, **options)
    return RowBlocks(X, y, weight, **options)
