"""From parameters and checked data to minibatch SGD: a fit to all rows, or a chunk of a stream.

- :mod:`.fit`: a fit to all rows.
- :mod:`.chunk`: one epoch over a chunk of a stream, and when that takes scales and rate anew.
- :mod:`.state`: what the next ``partial_fit`` goes on with.
- :mod:`.settings`: what the estimator's parameters say by themselves.
- :mod:`.messages`: what is to be said of how a fit or a chunk has ended.

It is to SGD what ``_fitting.py`` is to the other solvers. It imports
:mod:`sklearn_softmax._solvers`, :mod:`sklearn_softmax._objective` and what is below them.
"""
