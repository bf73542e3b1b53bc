"""Class labels in any container, as an array that can be sorted, compared, and given back.

Labels become codes in :mod:`sklearn_softmax._targets`.
"""

import datetime
import numbers
import warnings

import numpy as np
from sklearn.exceptions import DataConversionWarning

# What labels may be, by the types of Python and by the kinds of NumPy's dtypes. Only labels of one
# kind can be sorted; None of these holds a value that is missing.
_KINDS = [
    ("a number", (bool, np.bool_, numbers.Integral, float, np.floating), "biuf"),
    ("a string", (str,), "U"),
    ("bytes", (bytes,), "S"),
    ("a time", (datetime.datetime, np.datetime64), "M"),
    ("a date", (datetime.date,), ""),
    ("a duration", (datetime.timedelta, np.timedelta64), "m"),
]
# What a list holds, where NumPy has changed nothing of it.
_KEPT: dict[str, tuple] = {"U": (str,), "S": (bytes,), "f": (float, np.floating)}
_ALLOWED = "numbers, booleans, strings, bytes or dates"


def as_labels(values, name="y", *, warn=False):
    """Return labels as an array, none of them changed into another.

    Parameters
    ----------
    values : array-like of shape (n_samples,) or (n_samples, 1)
        On the host.
    name : str, default="y"
        What errors call them.
    warn : bool, default=False
        Whether to warn of a column where a vector is expected.

    Returns
    -------
    ndarray of shape (n_samples,)
        Of a native dtype. Python objects that are numbers are in a dtype of numbers; strings and
        bytes that are objects stay so.
    """
    labels = _as_array(values, name)
    if labels.ndim == 2 and labels.shape[1] == 1:
        if warn:
            warnings.warn(
                f"A column-vector {name} was passed when a 1d array was expected. Please change "
                f"the shape of {name} to (n_samples,), for example using ravel().",
                DataConversionWarning,
                stacklevel=3,
            )
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"{name} should be a 1d array, got an array of shape {labels.shape}.")
    if labels.dtype.kind in "OT":
        return _of_objects(labels.astype(object), name)
    if labels.dtype.kind not in "biufUSMm":
        raise ValueError(f"{name} must hold {_ALLOWED}; its dtype is {labels.dtype}.")
    _refuse_missing(labels, name)
    if labels.dtype == np.longdouble:
        return _in_float64(labels, name)
    return labels.astype(labels.dtype.newbyteorder("="), copy=False)


def _in_float64(labels, name):
    """Return numbers of more digits, which other libraries do not have, if they need no more."""
    rounded = labels.astype(np.float64)
    if not np.array_equal(rounded, labels):
        raise ValueError(f"{name} has labels that float64 does not hold exactly; pass strings.")
    return rounded


def kind_of_labels(labels):
    """Return what an array of labels, as :func:`as_labels` makes it, holds: "a number", ..."""
    if labels.dtype.kind == "O" and len(labels):
        return _kind_of(labels[0])
    return next((kind for kind, _, codes in _KINDS if labels.dtype.kind in codes), None)


def _kind_of(value):
    return next((kind for kind, types, _ in _KINDS if isinstance(value, types)), None)


def _as_array(values, name):
    """Return an array of the values as they are: of objects where NumPy would change some."""
    if np.ma.isMaskedArray(values):
        if np.ma.is_masked(values):
            row = int(np.flatnonzero(np.ma.getmaskarray(values))[0])
            raise ValueError(f"{name} has missing values: entry {row} is masked.")
        return np.asarray(values)
    if not isinstance(values, list | tuple):
        return np.asarray(values)
    try:
        labels = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must have one label for each row: {error}") from None
    if labels.ndim == 2 and labels.shape[1] == 1:
        return _as_array([row[0] for row in values], name)[:, None]
    kept = _KEPT.get(labels.dtype.kind)
    if kept is None or labels.ndim != 1 or _are_kept(values, kept):
        return labels
    labels = np.empty(len(values), dtype=object)
    labels[:] = values
    return labels


def _are_kept(values, types):
    """Return whether an array of NumPy's holds values as they are: its strings end in no zero."""
    if not all(issubclass(kind, types) for kind in set(map(type, values))):
        return False
    if types == _KEPT["f"]:
        return True
    is_text = types == _KEPT["U"]
    return "\0" not in "".join(values) if is_text else b"\0" not in b"".join(values)


def _of_objects(labels, name):
    """Return objects as labels: numbers in a dtype of their own, anything else as it is."""
    values = labels.tolist()
    types = list(map(type, values))
    kinds: dict[str, int] = {}
    for row in sorted(map(types.index, set(types))):
        value = values[row]
        kind = _kind_of(value)
        if _is_missing(value):
            raise ValueError(f"{name} has missing values: entry {row} is {value!r}.")
        if kind is None:
            raise ValueError(
                f"{name} must hold {_ALLOWED}; entry {row} is a {type(value).__name__}: {value!r}."
            )
        kinds.setdefault(kind, row)
    if kinds.keys() == {"a number"}:
        return _numbers(values, set(types), name)
    if not kinds.keys() <= {"a string", "bytes"}:
        for row, value in enumerate(values):
            if value != value:
                raise ValueError(f"{name} has missing values: entry {row} is {value!r}.")
    if len(kinds) > 1:
        shown = ", ".join(f"{kind} in entry {row} ({values[row]!r})" for kind, row in kinds.items())
        raise ValueError(
            f"{name} must hold labels of one kind, which can be sorted, but it has {shown}."
        )
    return labels


def _numbers(values, types, name):
    """Return Python's numbers in a dtype that holds them all exactly."""
    labels = np.asarray(values)
    are_integers = not any(issubclass(kind, float | np.floating) for kind in types)
    if labels.dtype.kind == "O" or (are_integers and labels.dtype.kind == "f"):
        raise ValueError(
            f"{name} has integers that no dtype of 64 bits holds together: from {min(values)} to "
            f"{max(values)}. Pass them as strings."
        )
    _refuse_missing(labels, name)
    if labels.dtype == np.longdouble:
        labels = labels.astype(np.float64)
    for label, value in zip(labels.tolist(), values, strict=True) if len(types) > 1 else ():
        if label != value:
            raise ValueError(
                f"{name} has labels that no dtype of 64 bits holds together: {value!r} would be "
                f"{label!r}. Pass them as strings."
            )
    return labels


def _is_missing(value):
    """Return whether a value stands for none: None, pandas' NA, NaT, or the masked constant."""
    return value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType")


def _refuse_missing(labels, name):
    kind = labels.dtype.kind
    if kind == "f" and not np.isfinite(labels).all():
        row = int(np.flatnonzero(~np.isfinite(labels))[0])
        what = "NaN" if np.isnan(labels[row]) else "infinity"
        raise ValueError(f"Input {name} contains {what}, in entry {row}.")
    if kind in "Mm" and np.isnat(labels).any():
        row = int(np.flatnonzero(np.isnat(labels))[0])
        raise ValueError(f"{name} has missing values: entry {row} is NaT.")
