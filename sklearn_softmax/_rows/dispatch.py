"""Where rows are: in memory, in a file, or on a device."""

from .._arrays import portable
from .blocks import RowBlocks
from .device import DeviceRows
from .files import FileRows


def rows_of(X, y=None, weight=None, **options):
    """Return rows as what can sum over them; parameters as for :class:`RowBlocks`."""
    if portable.is_foreign(X):
        return DeviceRows(X, y, weight, **options)
    if portable.is_sliceable(X):
        return FileRows(X, y, weight, **options)
    return RowBlocks(X, y, weight, **options)
