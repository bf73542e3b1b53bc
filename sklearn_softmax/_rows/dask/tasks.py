"""What Dask runs at a partition: functions of its rows.

These are module-level functions, which travel by name. Their first argument is the rows, as the
object that sums over them there (:func:`sklearn_softmax._rows.dispatch.rows_of`).
"""

import copy
import functools
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from ..._arrays import native, portable
from ..blocks import RowBlocks
from ..dispatch import rows_of
from ..sampling import RowSampler
from ..stored_rows import Block


def call(function, number, options, X, y, weight, *arguments):
    """Return a function of the rows of a partition; an error says which it is."""
    with named(number), _rows(X, y, weight, **options) as rows:
        return function(rows, *arguments)


class named:
    """Says in which partition something is wrong."""

    def __init__(self, number):
        self._number = number

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, ValueError):
            message = str(error)
            if not message.startswith("Partition "):
                error.args = (f"Partition {self._number}: {message}",)


def _rows(X, y, weight, *, n_features, dtype, origin, is_sparse, **options):
    X = _alike(native.as_rows(X), is_sparse)
    if X.shape[1] != n_features:
        raise ValueError(f"X has {X.shape[1]} features, but others have {n_features}.")
    if y is not None and len(y) != X.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows, but y has {len(y)}.")
    rows = rows_of(X, y, weight, **options)
    if rows.dtype != dtype or origin is not None:
        rows = rows.recast(dtype, origin)
    return rows


def _alike(X, is_sparse):
    """Return rows as a CSR matrix or as an array, as those of the other partitions are."""
    if is_sparse and isinstance(X, np.ndarray):
        return sp.csr_matrix(X)
    return X.toarray() if sp.issparse(X) and not is_sparse else X


def accumulate(rows, row_sum):
    if row_sum.is_compiled and native.compiled_loops().add_dense is None:
        row_sum = replace(row_sum, is_compiled=False)  # the client has Numba, a worker has not
    if rows.is_numpy:
        return rows.accumulate(row_sum)
    return _on_host(rows.accumulate(_placed(row_sum, rows)))


def accumulate_at(rows, index, weight, row_sum):
    if rows.is_numpy:
        return rows.accumulate_at(index, weight, row_sum)
    return _on_host(rows.accumulate_at(index, weight, _placed(row_sum, rows)))


def _placed(value, rows):
    """Return a sum, or whatever it holds, with its arrays on the device of the rows."""
    if isinstance(value, np.ndarray):
        return rows.place(value)
    if not hasattr(value, "__dict__"):
        return value
    placed = copy.copy(value)
    for name, part in vars(value).items():
        object.__setattr__(placed, name, _placed(part, rows))
    return placed


def _on_host(totals):
    return tuple(portable.to_numpy(total) for total in totals)


def refuse_if_not_finite(rows):
    if not portable.all_finite(rows.X):
        raise ValueError("X contains NaN or infinity.")


def add(parts):
    # (What tasks have returned must stay as it is: it may be needed again.)
    return tuple(functools.reduce(np.add, totals) for totals in zip(*parts, strict=True))


def take(rows, index):
    return _block_on_host(rows.take(index))


def _block_on_host(block):
    return Block(*(None if part is None else portable.on_host(part) for part in block))


def importance(rows, kind):
    return rows.importances(kind if rows.is_numpy else _placed(kind, rows))


def sampled_total(rows, values, mean):
    return RowSampler(rows, values.copy(), mean).total


def draw(rows, values, mean, positions):
    take, weights = RowSampler(rows, values.copy(), mean).draw(positions)
    return portable.on_host(take(slice(0, len(positions)))), portable.to_numpy(weights)


def walk(rows, step, carry, seed, mean_weight):
    if not rows.is_numpy:  # (steps of SGD are taken on the host)
        host = _block_on_host(Block(rows.X, rows.y, rows.weight))
        rows = RowBlocks(*host, n_classes=rows.n_classes)
    rows.mean_weight = mean_weight
    order = rows.order(None if seed is None else np.random.default_rng(seed))
    return step(rows, carry, order) if len(order) else carry


def stacked(parts):
    """Return rows, the one after the other, in one array or CSR matrix."""
    return sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)


def most_probable(y):
    return y if y.ndim == 1 else y.argmax(axis=1)
