"""Array libraries: whose an array is, and what each library lacks or does faster.

- :mod:`.portable`: arrays of any library that follows the array API standard: whose they are,
  where they are, how they are made and moved. It says what X is: an array of another library, a
  dataset in a file, or a Dask collection.
- :mod:`.native`: what NumPy, SciPy and CuPy do faster than the standard, behind functions that
  take arrays of any library.
- :mod:`.sparse`, :mod:`.data_frames`: sparse matrices and data frames as canonical rows.
- :mod:`.compiled`, :mod:`.compiled_ascent`, :mod:`.compiled_descent`: loops for Numba.
- :mod:`.cuda`: a kernel for CuPy.
- :mod:`.dask_workers`: a fit within a task of a Dask cluster.

Modules here import only each other. What another array library needs goes into ``portable``. A
faster way for one library goes into ``native``, if a measurement shows that it is faster.
"""
