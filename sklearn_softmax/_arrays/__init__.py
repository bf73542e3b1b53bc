"""Array libraries: whose an array is, and what each library lacks or does faster.

- :mod:`.portable`: arrays of any library, by the array API standard: whose they are, where they
  are, how they are made and moved.
- :mod:`.native`: what NumPy, SciPy sparse and CuPy do faster than the standard, behind functions
  that take arrays of any library.
- :mod:`.sparse`, :mod:`.data_frames`: SciPy's matrices and data frames as canonical rows.
- :mod:`.compiled`, :mod:`.compiled_ascent`: loops for Numba; :mod:`.cuda`: a kernel for CuPy.
- :mod:`.dask_workers`: a fit within a task of a Dask cluster.

It imports nothing of the package but the loops of this folder. What another array library needs
goes into ``portable``; a faster way for one library goes into ``native``.
"""
