"""Rows in the partitions of a Dask collection; imported where X is one.

- :mod:`.rows`: what :class:`~sklearn_softmax._rows.blocks.RowBlocks` is, for partitions: graphs of
  tasks, and who computes them.
- :mod:`.tasks`: what runs at a partition, and there takes the sums over its rows.
- :mod:`.data`: collections that ``fit`` and ``predict`` are given: checked, described, mapped.
"""
