"""BLAS threads, which the library's own threads take the place of during a fit."""

import functools
import threading
from typing import Any

from threadpoolctl import ThreadpoolController


class OneBlasThread:
    """Limits BLAS to one thread while anyone in the process is within.

    The limit belongs to the process: of several fits in several threads, the first sets it
    and the last lifts it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_inside = 0
        self._limits: Any = None
        self.n_threads_outside = 1

    def enter(self):
        with self._lock:
            if self._n_inside == 0:
                self.n_threads_outside = _n_blas_threads()
                self._limits = _threadpools().limit(limits=1, user_api="blas")
            self._n_inside += 1

    def leave(self):
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._limits.restore_original_limits()


one_blas_thread = OneBlasThread()


@functools.cache
def _threadpools():
    return ThreadpoolController()


def _n_blas_threads():
    libraries = _threadpools().select(user_api="blas").info()
    return max((library["num_threads"] for library in libraries), default=1)
