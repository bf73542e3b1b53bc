"""Where the rows of X are, and sums over them.

A fit is a sum over rows. This folder alone decides where the rows are, how many of them make a
block, and which thread works on them.

- :mod:`.dispatch`: chooses between the places: memory, file or device. Whether X is a Dask
  collection is asked earlier, in :mod:`sklearn_softmax._validation`.
- :mod:`.stored_rows`: rows as they are stored, with their targets and weights, and blocks of them.
- :mod:`.blocks`: rows in memory. Sums over their blocks run on threads.
- :mod:`.files`: rows in a dataset of h5py or zarr. :mod:`.reading` reads files ahead, and shuffles
  rows so that the disk need not seek.
- :mod:`.device`: rows in an array of CuPy, PyTorch or another array library.
- :mod:`.dask`: rows in the partitions of a Dask collection.
- :mod:`.block_size`: how many rows a block has.
- :mod:`.worker_threads`: the threads of a fit. :mod:`.blas_threads` keeps BLAS to one thread in
  the meantime.
- :mod:`.sums`: what a block adds to a total. :mod:`.sampling` draws rows at random.

It imports :mod:`sklearn_softmax.functional` and :mod:`sklearn_softmax._arrays`. Only
:mod:`.dask.data`, which checks what ``fit`` is given, imports ``_targets`` and ``_labels`` too.
Another place for rows (a Parquet reader, say) is a class with the methods of
:class:`.blocks.RowBlocks` in a file of its own, as ``files`` is. ``dispatch`` chooses it. Another
sum is a class with ``zeros`` and ``add`` in ``sums``.
"""
