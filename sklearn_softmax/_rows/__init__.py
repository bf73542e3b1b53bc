"""Where the rows of X are, and sums over them.

A fit is a sum over rows. Here, and only here, is decided where rows are and which thread works on
them: :mod:`.blocks` (in memory, cut into blocks that stay in cache), :mod:`.files` (h5py, zarr),
:mod:`.device` (CuPy, PyTorch and other array libraries), :mod:`.dask` (a cluster).
:mod:`.dispatch` says which of the first three an X is; whether it is a Dask collection is asked
before, where data is checked. What a block adds to a total is in :mod:`.sums`, :mod:`.sampling`
draws rows at random, and :mod:`.blas_threads` keeps BLAS to one thread in the meantime.

It imports :mod:`sklearn_softmax.functional` and :mod:`sklearn_softmax._arrays`;
:mod:`.dask.data`, which checks what ``fit`` is given, imports ``_targets`` and ``_labels`` too.
Another place for rows (a Parquet reader, say) is a class with the methods of
:class:`.blocks.RowBlocks`, named in ``dispatch``. Another sum is a class in ``sums`` with ``zeros``
and ``add``.
"""
