"""Graphs of plain tasks for the partitions of a collection, and who computes them.

All that is computed of partitions goes through :func:`each`. ``dask.delayed`` would do as well,
but it makes a graph for each call and joins them at the end. For a sum over 200 partitions that
takes a client 70 ms, and this 0.4 ms; a fit takes such a sum at every iteration.
"""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import dask
from dask import threaded
from dask.base import get_scheduler
from dask.delayed import Delayed

# With more tasks than this, what they share is sent once, and not with each of them.
_FEW_TASKS = 8
# Results that one task puts together.
_TREE_WIDTH = 8
# How long a cluster may be without a worker (seconds); how often to look.
_PATIENCE = 10.0
_INTERVAL = 1.0
# States of a client that something can be computed with; also while it connects again.
_OPEN = ("running", "connecting")


@dataclass(eq=False)
class Value:
    """A value that Dask does not search for tasks."""

    value: Any


@dataclass(eq=False)
class Shared:
    """An argument that is the same for all tasks, and may be large."""

    value: Any


# An argument that is the result of the call before.
PREVIOUS = object()


def each(function, *arguments, known=None, name=None):
    """Return a graph with a call of a function for each partition, and the keys of the results.

    Parameters
    ----------
    function : callable
        Travels by name.
    *arguments : list or Shared
        Lists have an entry for each call: a delayed value, ``PREVIOUS``, or any other value.
    known : dict or None
        A graph that has some of the delayed values among the arguments; that of the others is
        added to it.
    name : str or None
        How the tasks are called; None for the name of the function.

    Returns
    -------
    graph : dict
    keys : list
    """
    name = f"softmax-{(name or function.__name__).strip('_')}-{uuid.uuid4().hex}"
    lists = [item for item in arguments if not isinstance(item, Shared)]
    n_calls = len(lists[0])
    graph = dict(known or {})
    delayed = (entry for item in lists for entry in item if isinstance(entry, Delayed))
    graph |= merged(entry for entry in delayed if entry.key not in graph)
    keys = [(name, number) for number in range(n_calls)]
    columns = []
    for position, item in enumerate(arguments):
        if not isinstance(item, Shared):
            before = [None, *keys[:-1]]
            columns.append([_reference(*pair, graph) for pair in zip(item, before, strict=True)])
        elif n_calls <= _FEW_TASKS:
            columns.append([Value(item.value)] * n_calls)
        else:
            key = name, "shared", position
            graph[key] = Value(item.value)
            columns.append([key] * n_calls)
    for key, *references in zip(keys, *columns, strict=True):
        graph[key] = (_call, function, *references)
    return graph, keys


def tree(function, graph, keys):
    """Add calls of ``function(results)`` to a graph until few are left; return their keys."""
    level = 0
    while len(keys) > _TREE_WIDTH:
        groups = [keys[i : i + _TREE_WIDTH] for i in range(0, len(keys), _TREE_WIDTH)]
        level -= 1
        keys = [(keys[0][0], level, i) for i in range(len(groups))]
        graph.update({key: (function, group) for key, group in zip(keys, groups, strict=True)})
    return keys


def _call(function, *arguments):
    return function(*(item.value if isinstance(item, Value) else item for item in arguments))


def _reference(entry, before, graph):
    """Return how a task refers to an argument: by its key or its future, or to what it is."""
    if entry is PREVIOUS:
        return before
    if not isinstance(entry, Delayed):
        return Value(entry)
    value = graph[entry.key]
    return value if is_future(value) else entry.key


def merged(values):
    """Return the graphs of delayed values as one; many share theirs."""
    graphs = [value.dask for value in values]
    distinct = {id(graph): graph for graph in graphs}.values()
    return {key: task for graph in distinct for key, task in dict(graph).items()}


def is_future(value):
    """Return whether something stands for a result at a worker."""
    return hasattr(value, "add_done_callback")


def persist(graph, keys):
    """Return results as delayed values, which are kept where they are computed."""
    return list(dask.persist(*(Delayed(key, graph) for key in keys)))


def compute(values):
    """Return delayed values, computed."""
    values = list(values)
    return run(merged(values), [value.key for value in values])


def run(graph, keys):
    """Return the values of some keys; an error if there is nobody left to compute them."""
    scheduler = get_scheduler() or threaded.get
    client: Any = getattr(scheduler, "__self__", None)
    if not hasattr(client, "scheduler_info"):
        if any(is_future(value) for value in graph.values()):
            raise RuntimeError(
                "X, y or their weights are results at the workers of a Dask client that has been "
                "closed: nothing can be computed of them."
            )
        return list(scheduler(graph, keys))
    futures: list = []
    try:
        futures = client.get(graph, keys, sync=False)
        _wait(client, futures)
        return client.gather(futures)
    except BaseException as error:
        if client.status in _OPEN:
            client.cancel(futures)
            raise
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise RuntimeError(
            "The Dask client was closed while something was computed with it (its status is "
            f"{client.status!r})."
        ) from error


def _wait(client, futures):
    from distributed import wait

    last_seen = time.monotonic()
    while True:
        try:
            wait(futures, timeout=_INTERVAL)
        except TimeoutError:
            if client.status not in _OPEN:
                raise
            if client.nthreads():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > _PATIENCE:
                raise RuntimeError(
                    "The Dask cluster has had no worker for "
                    f"{_PATIENCE:.0f} seconds: nothing is left to compute with."
                ) from None
        else:
            return
