"""A fit within a task of a Dask cluster, which has to wait for other tasks."""

import contextlib
import sys
from typing import Any


@contextlib.contextmanager
def beside_other_tasks():
    """Within a task of a cluster, leave its thread to others, which this may wait for.

    Elsewhere it does nothing. Otherwise a fit in a task on each thread would wait forever for
    threads to sum over its rows.
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
