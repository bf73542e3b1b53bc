"""The threads of a fit, which share out its rows while BLAS runs on one thread."""

from concurrent.futures import ThreadPoolExecutor

import joblib

from .blas_threads import OneBlasThread, limit_this_thread

# Work of fewer multiplications than this is over before a second thread has woken up.
_MIN_WORK = 2_000_000
# Fewer items than this are not worth sharing.
_MIN_ITEMS = 512


def is_quick(work):
    """Return whether so many multiplications are over before a second thread has woken up."""
    return work < _MIN_WORK


class WorkerThreads:
    """Threads that share work. Outside its context the calling thread does all of it.

    Parameters
    ----------
    n_jobs : int or None
        Number of threads; None for as many as BLAS may use at present, -1 for all cores.
    """

    def __init__(self, n_jobs=None):
        self.n_jobs = n_jobs
        self.n_threads = 1
        self._pool: ThreadPoolExecutor | None = None
        self._stay: OneBlasThread | None = None

    def __enter__(self):
        n_threads = None if self.n_jobs is None else joblib.effective_n_jobs(self.n_jobs)
        # Every thread works on items of its own, so BLAS must not start threads as well. The
        # linear algebra between two sums is too small to gain from BLAS threads, and loses
        # much to them: NumPy's and SciPy's BLAS each keep a pool, whose threads spin.
        self._stay = OneBlasThread()
        n_threads_outside = self._stay.enter()
        self.n_threads = n_threads or n_threads_outside
        return self

    def __exit__(self, *exc_info):
        try:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
        finally:
            if self._stay is not None:
                self._stay.leave()

    @property
    def pool(self):
        """The executor of the threads, which start when they are first needed."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.n_threads, initializer=limit_this_thread)
        return self._pool

    def share(self, run, n_items, work, step=1):
        """Share ``n_items`` out among the threads.

        Parameters
        ----------
        run : callable
            ``run(start, stop)`` works on some of the items.
        n_items : int
            Their number.
        work : int
            How many multiplications that is in all; a little is not worth sharing.
        step : int, default=1
            A share starts at a multiple of this.

        Returns
        -------
        list
            What the calls returned, in order. The shares depend on nothing but ``n_items``
            and the number of threads.
        """
        if is_quick(work) or self.n_threads == 1 or n_items < _MIN_ITEMS:
            return [run(0, n_items)]
        n_steps = -(-n_items // step)
        bounds = [n_steps * i // self.n_threads * step for i in range(self.n_threads)] + [n_items]
        return list(self.pool.map(run, bounds[:-1], bounds[1:]))
