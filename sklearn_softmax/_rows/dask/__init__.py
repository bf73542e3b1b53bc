"""Rows in the partitions of a Dask collection; imported where X is one.

- :mod:`.rows`: what :class:`~sklearn_softmax._rows.blocks.RowBlocks` is, for partitions: graphs of
  tasks, and who computes them.
- :mod:`.tasks`: what runs at a partition.
- :mod:`.data`: collections that ``fit`` and ``predict`` are given: checked, described, mapped.
"""
