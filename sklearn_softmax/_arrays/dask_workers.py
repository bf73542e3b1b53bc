"""Fits within a task of a Dask cluster, which have to wait for other tasks."""

import contextlib
import sys
from typing import Any


@contextlib.contextmanager
def beside_other_tasks():
    """Return a context in which a task of a cluster leaves its thread to other tasks.

    A fit in a task waits for the tasks that sum over its rows. If each thread ran such a fit, none
    would be left for the sums. Outside of a task the context does nothing.
    """
    distributed: Any = sys.modules.get("distributed")
    context = contextlib.nullcontext() if distributed is None else _context(distributed)
    with context:
        yield


def _context(distributed):
    try:
        distributed.get_worker()
    except ValueError:  # (no worker runs this)
        return contextlib.nullcontext()
    return distributed.worker_client()
