"""Rows in a file that is larger than memory, read in parts.

A memory-mapped file is an array to :class:`RowBlocks`. A dataset of h5py, or an array of zarr,
gives an array only when it is sliced. It is read here, one part after another, while a thread reads
the next.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .._arrays import native
from .blocks import Block, RowBlocks, add_totals, read_ahead

# Rows that are in memory together (bytes): two parts are, at most.
_PART_BYTES = 32 << 20


class FileRows(RowBlocks):
    """Rows of which some are in memory at a time.

    Parameters are those of :class:`RowBlocks`; ``X`` is anything with ``shape``, ``dtype`` and
    slices of rows. What is as long as there are rows (y, weights, an order) is in memory.
    """

    is_in_memory = False

    def __init__(self, X, y=None, weight=None, **options):
        super().__init__(X, y, weight, **options)
        row_bytes = max(1, X.shape[1] * X.dtype.itemsize)
        chunk = native.rows_per_chunk(X)
        # Chunks are decompressed whole.
        self._part_rows = chunk * max(1, _PART_BYTES // (chunk * row_bytes))
        self._reader = None

    def __exit__(self, *exc_info):
        try:
            super().__exit__(*exc_info)
        finally:
            if self._reader is not None:
                self._reader.shutdown()
                self._reader = None

    def with_weight(self, weight, class_weight=None, *, leaves_out=False):
        """Return the same rows with other weights; as :meth:`RowBlocks.with_weight`."""
        self._start_reader()
        return super().with_weight(weight, class_weight, leaves_out=leaves_out)

    def _choose_run_rows(self):
        return max(super()._choose_run_rows(), native.rows_per_chunk(self.X))

    def _start_reader(self):
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1)

    def _parts(self, slices):
        """Yield each slice with its rows in memory, while the next are read."""
        self._start_reader()
        blocks = read_ahead(self._reader, self._take_stored, slices)
        for index, block in zip(slices, blocks, strict=True):
            yield index, self._in_memory(block)

    def _in_memory(self, block):
        rows = RowBlocks(*block, n_classes=self.n_classes, class_weight=self.class_weight, n_jobs=1)
        rows.dtype, rows.origin, rows.block_rows = self.dtype, self.origin, self.block_rows
        if self._n_threads > 1:
            rows.borrow_threads(self)
        return rows

    def recast(self, dtype, origin=None):
        """Return the same rows in another dtype; as :meth:`RowBlocks.recast`."""
        self._start_reader()  # which the other shares, and does not end
        return super().recast(dtype, origin)

    def _part_slices(self):
        return list(self._slices(0, self.n_rows, self._part_rows))

    def _take_stored(self, index):
        if isinstance(index, slice):
            return super()._take_stored(index)
        y = None if self.y is None else self.y[index]
        weight = None if self.weight is None else self.weight[index]
        return Block(self._gather(np.asarray(index)), y, weight)

    def _gather(self, index):
        """Return the rows at any positions, reading no more than a part at once."""
        result = np.empty((len(index), self.n_features), dtype=self.stored_dtype)
        order = np.argsort(index, kind="stable")
        index = index[order]
        is_far = np.diff(index) > native.rows_per_chunk(self.X)
        is_next_part = np.diff(index // self._part_rows) > 0
        bounds = np.flatnonzero(is_far | is_next_part) + 1
        for start, stop in zip([0, *bounds], [*bounds, len(index)], strict=True):
            first, last = index[start], index[stop - 1]
            rows = native.take_rows(self.X, slice(first, last + 1))
            result[order[start:stop]] = rows[index[start:stop] - first]
        return result

    def take_parts(self, index=None):
        """Return what takes a slice of the rows at ``index``; as :meth:`RowBlocks.take_parts`.

        They are read at once, but converted only as they are asked for.
        """
        index = self._weighted(slice(0, self.n_rows)) if index is None else index
        return self._in_memory(self._take_stored(index)).take_parts()

    def accumulate(self, row_sum):
        """Sum a function over all rows; as :meth:`RowBlocks.accumulate`."""
        return add_totals(part.accumulate(row_sum) for _, part in self._parts(self._part_slices()))

    def for_each(self, function):
        """Call ``function(index, block)`` for every block; as :meth:`RowBlocks.for_each`."""
        for where, part in self._parts(self._part_slices()):

            def shifted(index, block, offset=where.start):
                if isinstance(index, slice):
                    function(slice(index.start + offset, index.stop + offset), block)
                else:
                    function(index + offset, block)

            part.for_each(shifted)

    def accumulate_at(self, index, weight, row_sum):
        """Sum over the rows at ``index`` alone, with weights of their own (None: all 1)."""
        order = np.argsort(index)
        index, weight = index[order], None if weight is None else weight[order]
        numbers, starts = np.unique(index // self._part_rows, return_index=True)
        bounds = np.append(starts, len(index))
        slices = self._part_slices()
        parts = self._parts([slices[number] for number in numbers])

        def totals():
            for (where, part), start, stop in zip(parts, bounds[:-1], bounds[1:], strict=True):
                part_weight = None if weight is None else weight[start:stop]
                yield part.accumulate_at(index[start:stop] - where.start, part_weight, row_sum)

        return add_totals(totals())

    def batches(self, size, order, *, is_compiled=False):
        """Yield rows, ``size`` at a time; as :meth:`RowBlocks.batches`."""
        window = size * max(1, self._part_rows // size)
        slices = [order[start : start + window] for start in range(0, len(order), window)]
        for positions, part in self._parts(slices):
            yield from part.batches(size, np.arange(len(positions)), is_compiled=is_compiled)
