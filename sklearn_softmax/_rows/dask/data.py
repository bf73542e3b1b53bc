"""Dask collections that ``fit`` and ``predict`` are given: checked, described, mapped."""

import functools
import itertools
import operator
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import delayed
from sklearn.utils.validation import validate_data

from ... import _targets
from ..._arrays.dask_workers import beside_other_tasks
from ..._arrays.data_frames import check_columns
from ..._arrays.native import as_rows, stored_entries
from ..._arrays.portable import float_dtype, in_memory, is_dask, on_gpu
from ..._labels import as_labels
from . import graphs, tasks
from .rows import DaskRows
from .tasks import named


@dataclass
class DaskData:
    """Checked training data, as :class:`sklearn_softmax._validation.TrainingData` in partitions.

    Attributes
    ----------
    parts : list of tuple
        For each partition its X, and its targets and weights (or None), delayed; what is made
        of labels and weights is kept where it was computed.
    numbers : ndarray of int
        Which partition of X each is: those without rows are left out.
    lengths : ndarray of int
        The number of rows of each.
    n_features : int
    stored_dtype : dtype
        Of X.
    n_stored : int
        Number of entries of X that a product has to touch.
    is_sparse : bool
        Whether any partition is; then the others are made so.
    classes : ndarray of shape (n_classes,)
    has_labels : bool
        Whether y is class codes.
    class_weight : ndarray of shape (n_classes,) or None
    total_weight : float
    n_weighted : int
        The number of rows of positive weight.
    """

    parts: list
    numbers: np.ndarray
    lengths: np.ndarray
    n_features: int
    stored_dtype: np.dtype
    n_stored: int
    is_sparse: bool
    classes: Any = None
    has_labels: bool = True
    class_weight: Any = None
    total_weight: float = 0.0
    n_weighted: int = 0

    @property
    def dtype(self):
        """The dtype that X is computed in."""
        return float_dtype(self.stored_dtype)

    @property
    def strata(self):
        """The most probable class of each row: an array in memory."""
        targets = [y for _, y, _ in self.parts]
        return np.concatenate(graphs.run(*graphs.each(tasks.most_probable, targets)))

    @property
    def weight(self):
        """The weight of each row, in memory; None where all are 1."""
        if any(weight is None for _, _, weight in self.parts):
            return None
        return np.concatenate(graphs.compute([weight for _, _, weight in self.parts]))

    def check_finite(self, estimator=None, parts=None):
        """Raise an error if X holds NaN or infinity, and say in which partition.

        ``parts`` are the positions of those to search; None for all.
        """
        parts = range(len(self.parts)) if parts is None else parts
        if len(parts):
            self.rows(1).call(tasks.refuse_if_not_finite, parts)

    def rows(self, n_jobs):
        """Return the rows, to be summed over with so many threads for each partition."""
        return DaskRows(self, n_jobs)


def check_dask_features(estimator, X, *, reset):
    """Return X with whole rows in each partition, its features checked against the estimator."""
    if estimator.device == "cuda":
        on_gpu(X)  # which refuses it
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions; it has {X.ndim}.")
    if hasattr(X, "columns"):
        check_columns(X._meta)
    names = getattr(X, "_meta", None) if hasattr(X, "columns") else np.empty((1, X.shape[1]))
    validate_data(estimator, names, reset=reset, skip_check_array=True)
    return X if hasattr(X, "columns") else X.rechunk({1: -1})


def check_dask_data(estimator, X, y, sample_weight, *, known, reset):
    """Return the arguments of ``fit`` checked, as :class:`DaskData`.

    Parameters
    ----------
    estimator : SoftmaxRegressionClassifier
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
    y : collection or array of shape (n_samples,) or (n_samples, n_classes)
        In the same partitions, if the sizes of those of X are not known.
    sample_weight : collection, array or None
    known : ndarray or None
        The classes, where they are known.
    reset : bool
        Whether the features are new to the estimator.
    """
    data, lengths = _described(check_dask_features(estimator, X, reset=reset))
    data.has_labels = not _targets.is_distribution(y)
    y, known = _checked_here(y, data.has_labels, known)
    targets = _beside(y, "y", lengths)
    weights = [None] * len(data.parts)
    if sample_weight is not None:
        weights = _beside(_weights_here(sample_weight, lengths), "sample_weight", lengths)
    kinds = graphs.Shared(data.has_labels), graphs.Shared(known)
    beside = data.numbers, targets, weights
    found = graphs.run(*graphs.each(_describe_targets, *beside, data.lengths, *kinds))
    data.classes, mass, (data.total_weight, data.n_weighted) = _merged(found, data, known)
    _targets.check_number_of_classes(data.classes, type(estimator).__name__)
    if estimator.class_weight is not None:
        data.class_weight = _targets.class_weights(estimator.class_weight, data.classes, mass)
        with np.errstate(over="ignore"):
            data.total_weight = _targets.total_weight(mass * data.class_weight)
    targets, weights = _prepared(data, *beside)
    if sample_weight is None and data.class_weight is None:
        weights = [None] * len(data.parts)
    data.parts = [(X, y, w) for X, y, w in zip(data.parts, targets, weights, strict=True)]
    if weights[0] is not None:
        counts = graphs.run(*graphs.each(np.count_nonzero, weights))
        data.n_weighted = int(sum(counts))
        # Rows of weight 0 may hold NaN that no loss shows.
        data.check_finite(parts=np.flatnonzero(np.array(counts) < data.lengths))
    return data


def _described(X):
    """Return what is known of X alone, its parts without targets, and the lengths of all parts."""
    parts, shapes = _partitions(X), _known_shapes(X)
    if shapes is None:
        shapes = graphs.run(*graphs.each(_describe, range(len(parts)), parts))
    lengths = np.array([shape[0] for shape in shapes])
    _check_shapes(shapes)
    # (The dtype of a partition without rows says nothing.)
    numbers = np.flatnonzero(lengths)
    shapes = [shapes[i] for i in numbers]
    data = DaskData(
        parts=[parts[i] for i in numbers],
        numbers=numbers,
        lengths=lengths[numbers],
        n_features=shapes[0][1],
        stored_dtype=np.result_type(*(shape[2] for shape in shapes)),
        n_stored=sum(shape[3] for shape in shapes),
        is_sparse=any(shape[4] for shape in shapes),
    )
    return data, lengths


def _prepared(data, numbers, targets, weights):
    """Return targets and weights as the sums need them, delayed; kept where they are computed."""
    options = data.classes, data.has_labels, data.class_weight
    shared = [graphs.Shared(option) for option in options]
    graph, keys = graphs.each(_prepare, numbers, targets, weights, *shared)
    halves = {(*key, half): (operator.getitem, key, half) for half in (0, 1) for key in keys}
    ready = graphs.persist(graph | halves, list(halves))
    return ready[: len(keys)], ready[len(keys) :]


def map_rows(function, X):
    """Return a Dask array of a function of the rows of X, not yet computed."""
    dtype = X.dtype if hasattr(X, "dtype") else as_rows(X._meta).dtype
    sample = function(np.zeros((1, X.shape[1]), dtype=dtype))
    options = {"dtype": sample.dtype, "meta": sample[:0]}
    if not hasattr(X, "columns"):
        kept = {"drop_axis": 1} if sample.ndim == 1 else {"chunks": (X.chunks[0], sample.shape[1:])}
        return X.map_blocks(functools.partial(_of_rows, function), **kept, **options)
    # (This is not yet computed, and Dask takes it as delayed values only.)
    call = delayed(_of_rows, pure=False)
    shape = (np.nan, *sample.shape[1:])
    parts = [da.from_delayed(call(function, part), shape, **options) for part in _partitions(X)]
    return da.concatenate(parts)


def mean_of_rows(function, X, y, sample_weight, classes):
    """Return the weighted mean of ``function(X, y)``, an array with a number for each row."""
    y, _ = _checked_here(y, not _targets.is_distribution(y), classes)
    parts = _partitions(X)
    with beside_other_tasks():
        lengths = np.array(graphs.run(*graphs.each(_n_rows, parts)))
        numbers = np.flatnonzero(lengths)
        targets = _beside(y, "y", lengths)
        weights = [None] * len(targets)
        if sample_weight is not None:
            weights = _beside(_weights_here(sample_weight, lengths), "sample_weight", lengths)
        parts = [parts[number] for number in numbers]
        sums = graphs.run(
            *graphs.each(_weighted_sum, numbers, graphs.Shared(function), parts, targets, weights)
        )
    total, weight = np.sum(sums, axis=0)
    return float(total / _targets.total_weight(weight))


# What runs at a partition ------------------------------------------------------------------


def _describe(number, X):
    """Return number of rows and features, dtype, stored entries, and whether X is sparse."""
    with named(number):
        X = as_rows(X)
        if X.dtype.kind not in "biuf":
            raise ValueError(f"X must hold numbers; its dtype is {X.dtype}.")
        n_stored = stored_entries(X)
        return *X.shape, X.dtype, n_stored, n_stored is not None and hasattr(X, "indptr")


def _describe_targets(number, y, weight, length, has_labels, known):
    """Return labels (or the number of classes) and their masses, the weight, rows with one."""
    with named(number):
        y, weight = _checked(y, weight, has_labels, known, length)
        sums = float(length), length
        if weight is not None:
            with np.errstate(over="ignore"):  # (the sum of all tells)
                sums = float(weight.sum()), np.count_nonzero(weight)
        targets_of = _targets.encode_labels if has_labels else _targets.check_distribution
        classes, y = targets_of(y, known)
        return classes, _targets.class_mass(y, len(classes), weight), sums


def _prepare(number, y, weight, classes, has_labels, class_weight):
    """Return targets and weights as the sums need them."""
    with named(number):
        y, weight = _checked(y, weight, has_labels, classes)
        targets_of = _targets.encode_labels if has_labels else _targets.check_distribution
        y = targets_of(y, classes)[1]
        return y, _targets.weights_of_rows(y, class_weight, weight)


def _checked(y, weight, has_labels, classes, length=None):
    y = as_labels(y) if has_labels else y
    if length is not None and len(y) != length:
        raise ValueError(f"X has {length} rows, but y has {len(y)}.")
    if weight is None:
        return y, None
    weight = _numbers(weight)
    if weight.ndim != 1 or len(weight) != len(y):
        raise ValueError(f"sample_weight must have a number for each of the {len(y)} rows.")
    if not np.isfinite(weight).all() or weight.min(initial=0.0) < 0:
        raise ValueError("sample_weight must be finite and not negative.")
    return y, weight


def _numbers(weight):
    if np.ma.is_masked(weight):
        raise ValueError("sample_weight is a masked array with masked entries: fill them in.")
    try:
        return np.asarray(weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sample_weight must hold numbers: {error}.") from None


def _of_rows(function, X):
    return function(as_rows(X))


def _n_rows(X):
    return X.shape[0]


def _weighted_sum(number, function, X, y, weight):
    with named(number):
        values = function(as_rows(X), y)
        if weight is None:
            return values.sum(), float(len(values))
        _, weight = _checked(values, weight, False, None)
        return weight @ values, weight.sum()


# On the client -----------------------------------------------------------------------------


def _checked_here(y, has_labels, known):
    """Return targets, checked as far as they are in memory, and the classes that they name."""
    if is_dask(y):
        return y, known
    if has_labels:
        return as_labels(in_memory(y, "y"), warn=True), known
    known, y = _targets.check_distribution(y, known)
    return y, known


def _weights_here(sample_weight, lengths):
    """Return weights other than collections as an array in memory; a number for all rows is one."""
    if is_dask(sample_weight):
        return sample_weight
    weight = _numbers(in_memory(sample_weight, "sample_weight"))
    if weight.ndim == 0:
        return np.full(lengths.sum(), weight)
    if weight.ndim != 1:
        raise ValueError(
            f"sample_weight must have one dimension, with a number for each row; its shape is "
            f"{weight.shape}."
        )
    return weight


def _partitions(X):
    # Optimised, tables of few columns are read in fewer partitions, y in others than X; and what is
    # at the workers already would no longer be referred to by its futures.
    keeps = hasattr(X, "columns") or not hasattr(X, "chunks")
    keeps = keeps or any(graphs.is_future(value) for value in dict(X.__dask_graph__()).values())
    return list(np.ravel(X.to_delayed(optimize_graph=not keeps)))


def _known_shapes(X):
    """Return what :func:`_describe` would, where it is known without a look at X."""
    if hasattr(X, "columns") or not isinstance(X._meta, np.ndarray):
        return None
    lengths, n_features = X.chunks[0], X.shape[1]
    if np.isnan(np.array(lengths, dtype=float)).any() or X.dtype.kind not in "biuf":
        return None
    return [(n, n_features, X.dtype, n * n_features, False) for n in lengths]


def _check_shapes(shapes):
    if sum(shape[0] for shape in shapes) == 0:
        raise ValueError("X has no rows: at least one sample is needed.")
    n_features = next(shape[1] for shape in shapes if shape[0])
    for number, shape in enumerate(shapes):
        if shape[0] and shape[1] != n_features:
            raise ValueError(
                f"Partition {number}: X has {shape[1]} features, but others have {n_features}."
            )


def _beside(values, name, lengths):
    """Return, for each partition of X that has rows, what belongs to it."""
    if not is_dask(values):
        if len(values) != lengths.sum():
            raise ValueError(f"X has {lengths.sum()} rows, but {name} has {len(values)}.")
        starts = np.append(0, np.cumsum(lengths))
        slices = itertools.pairwise(starts)
        return [values[a:b] for a, b in slices if b > a]
    if hasattr(values, "chunks"):
        if not np.isnan(np.array(values.chunks[0], dtype=float)).any():
            if values.shape[0] != lengths.sum():
                raise ValueError(f"X has {lengths.sum()} rows, but {name} has {values.shape[0]}.")
            values = values.rechunk({0: tuple(int(length) for length in lengths)})
        if values.ndim == 2:
            values = values.rechunk({1: -1})
    parts = _partitions(values)
    if len(parts) != len(lengths):
        raise ValueError(
            f"X has {len(lengths)} partitions, but {name} has {len(parts)}: where sizes are not "
            "known they must be the same."
        )
    return [part for part, length in zip(parts, lengths, strict=True) if length]


def _merged(found, data, known):
    """Return the classes, the mass of each, and the sums of what partitions have found."""
    labels = [item[0] for item in found]
    if known is None and data.has_labels:
        for names in labels:
            _targets.check_kind(names, labels[0])
        classes = _targets.union_of_labels(labels)
        _targets.check_classes(classes)
    else:
        classes = labels[0] if known is None else known
    for number, names in zip(data.numbers, labels, strict=True):
        if not data.has_labels and not np.array_equal(names, classes):
            raise ValueError(
                f"Partition {number}: y has the classes {names.tolist()}, but others have "
                f"{classes.tolist()}."
            )
    totals, counts = zip(*(item[2] for item in found), strict=True)
    total, n_weighted = _targets.total_weight(totals), sum(counts)
    mass = np.zeros(len(classes))
    for names, masses, _ in found:
        mass[np.searchsorted(classes, names)] += masses
    return classes, mass, (total, int(n_weighted))
