"""BLAS threads: there is one during a fit, which runs threads of its own.

Most builds of OpenBLAS have one number of threads for the whole process; MKL, and OpenBLAS on
OpenMP, have one for each thread that calls them. threadpoolctl finds the libraries, but OpenBLAS
is told directly: from version 3.8 on, threadpoolctl lets only the first thread that sets its
number set it again.

Nothing here is counted up and down. The numbers follow from which fits are running, and
``_Limits._settle`` sets them. A thread that was interrupted there can settle again. So can a
child process, even one that was forked in the middle of it.
"""

import functools
import os
import threading
from typing import Any

from threadpoolctl import ThreadpoolController

# What builds of OpenBLAS put before and after the names of their functions.
_PREFIXES, _SUFFIXES = ("", "scipy_"), ("", "64_", "_64")


class OneBlasThread:
    """A stay, within which BLAS runs on one thread.

    While anyone in the process is within, BLAS has one thread. The last who leaves gives it back
    what it was set to outside. Entering or leaving again does nothing more.
    """

    def enter(self):
        """Limit BLAS; return how many threads it has outside."""
        return _limits.begin(self)

    def leave(self):
        """Lift the limit, unless someone else is within."""
        _limits.end(self)


class BlasRestored:
    """A context manager that ends what stays its thread has begun within and not ended.

    Ctrl-C may strike before the first line of an ``__exit__``, or after the last one of an
    ``__enter__``. Then nobody but this one is left to end the stay.
    """

    def __enter__(self):
        self._before = _limits.of_this_thread()
        return self

    def __exit__(self, *exc_info):
        _limits.go_back(*self._before)


def uphold_limit():
    """Limit BLAS once more while someone is within: another library may have lifted the limit."""
    _limits.uphold()


def limit_this_thread():
    """Limit BLAS for this thread, which ends with the fit, if each thread has its own number."""
    for library in _libraries():
        if library.is_per_thread:
            library.set_n_threads(1)


class _Limits:
    """Who is within, in any thread, and what BLAS is set to outside."""

    def __init__(self):
        # (Its thread may acquire it again: signals and destructors run code anywhere.)
        self._lock: Any = threading.RLock()
        self._stays: dict[OneBlasThread, int] = {}
        self._outside: dict[_Library, int] = {}
        self._outside_of_thread = threading.local()

    def begin(self, stay):
        """Add a stay of this thread; return how many threads BLAS has outside."""
        with self._lock:
            self._stays[stay] = threading.get_ident()
            self._settle()
            numbers = (
                self._saved(library).get(library) or library.get_n_threads()
                for library in _libraries()
            )
            return max(numbers, default=1)

    def end(self, *stays):
        """Drop stays, if they are there."""
        if not (stays or self._outside or self._saved_by_thread()):
            return
        with self._lock:
            for stay in stays:
                self._stays.pop(stay, None)
            self._settle()

    def of_this_thread(self):
        """Return the stays of this thread, and whether it holds the lock."""
        me = threading.get_ident()
        stays = {stay for stay, thread in self._stays.copy().items() if thread == me}
        return stays, self._lock._is_owned()

    def go_back(self, stays, held_lock):
        """Undo what this thread has begun since :meth:`of_this_thread` returned these."""
        # (A tracing function, as debuggers have, may interrupt a block that is about to release.)
        while self._lock._is_owned() and not held_lock:
            self._lock.release()
        mine, _ = self.of_this_thread()
        if mine != stays or not mine:
            self.end(*mine - stays)

    def uphold(self):
        """Put numbers right that others have changed while someone is within."""
        if self._stays:
            with self._lock:
                self._settle()

    def start_child(self):
        """Go on in a forked process, where this thread is the only one that is left."""
        self._lock = threading.RLock()
        mine, _ = self.of_this_thread()
        self.end(*self._stays.keys() - mine)

    def _settle(self):
        """Make the numbers what they have to be."""
        is_here = threading.get_ident() in self._stays.values()
        for library in _libraries():
            self._hold(library, is_here if library.is_per_thread else bool(self._stays))

    def _hold(self, library, is_limited):
        saved, number = self._saved(library), library.get_n_threads()
        if is_limited and number != 1:
            # (This replaces an older number: somebody has set another one since, for outside.)
            saved[library] = number
            library.set_n_threads(1)
        elif not is_limited and library in saved:
            if number == 1:
                library.set_n_threads(saved[library])
            del saved[library]

    def _saved(self, library):
        return self._saved_by_thread() if library.is_per_thread else self._outside

    def _saved_by_thread(self):
        return vars(self._outside_of_thread)


class _Library:
    """A BLAS library: asks it for its number of threads, and sets it.

    Parameters
    ----------
    controller : threadpoolctl.LibController
        What threadpoolctl found.
    """

    def __init__(self, controller):
        self.get_n_threads = controller.get_num_threads
        self.set_n_threads = controller.set_num_threads
        self.is_per_thread = controller.internal_api == "mkl"
        if controller.internal_api == "openblas":
            self.is_per_thread = controller.threading_layer == "openmp"
            if self.is_per_thread:
                names = "omp_get_max_threads", "omp_set_num_threads"
            else:
                names = "openblas_get_num_threads", "openblas_set_num_threads"
            functions = _functions(controller.dynlib, *names)
            if functions is not None:
                self.get_n_threads, self.set_n_threads = functions


def _functions(library, *names):
    """Return functions of a loaded OpenBLAS, or None if it has not all of them."""
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            found = [getattr(library, f"{prefix}{name}{suffix}", None) for name in names]
            if None not in found:
                return found
    return None


@functools.cache
def _libraries() -> tuple[Any, ...]:
    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return tuple(_Library(controller) for controller in found)


_limits = _Limits()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limits.start_child)
