"""Rows in the partitions of a Dask collection; imported where X is one.

- :mod:`.data`: what ``fit`` and ``predict`` are given: checked, described, and mapped.
- :mod:`.rows`: what :class:`~sklearn_softmax._rows.blocks.RowBlocks` is, for partitions.
  :mod:`.sampling` draws rows of them at random.
- :mod:`.tasks`: what runs at a partition, and sums over the rows there.
- :mod:`.graphs`: tasks for partitions, and who computes them.

Something else that is computed of the rows is a function in ``tasks``, which ``DaskRows.call``
runs at each partition.
"""
