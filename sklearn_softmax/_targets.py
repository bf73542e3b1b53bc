"""What y may be: class labels, or a distribution over the classes for each row.

Labels become codes here (:func:`encode_labels`). :mod:`sklearn_softmax._labels` reads them from
whatever container they are in. What follows from y is here as well: what classes and rows weigh,
and which rows are set aside for validation.
"""

import math
from numbers import Real

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets

from ._arrays.portable import in_memory
from ._labels import as_labels, kind_of_labels

# How far the sum of a row of probabilities may be from 1. Dtypes of few digits round it further
# away; such rows are divided by their sum.
_SUM_TOLERANCE = 1e-5
_ROUNDING = {"float16": 2.0**-10, "halffloat": 2.0**-10, "bfloat16": 2.0**-7}


def is_distribution(y):
    """Return whether y has a column for each class: 2-dimensional, and not just one column."""
    shape = getattr(y, "shape", None)
    if shape is None and isinstance(y, (list, tuple)) and len(y) > 0:
        shape = np.shape(y[0])
        return len(shape) == 1 and shape[0] > 1
    return shape is not None and len(shape) == 2 and shape[1] > 1


def check_given(y, name):
    """Raise an error if there is no y; ``name`` is that of the estimator."""
    if y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")


def check_number_of_classes(classes, name):
    """Raise an error if there is but one class; ``name`` is that of the estimator."""
    if len(classes) < 2:
        raise ValueError(
            f"{name} needs samples of at least 2 classes in the data, but the data contains only "
            f"one class: {classes[0]}."
        )


def check_labels(y, classes=None):
    """Raise an error unless y holds labels of classes; else as :func:`encode_labels`."""
    if y.dtype.kind == "f":
        check_classification_targets(y)
    found, codes = encode_labels(y, classes)
    if 2 * len(found) > len(y):  # (scikit-learn warns of so many classes)
        check_classification_targets(codes)
    return found, codes


def check_classes(classes):
    """Raise an error if the classes are numbers as they are predicted by a regression."""
    if classes.dtype.kind == "f":
        # (scikit-learn warns where most labels differ, so each is given more than once.)
        check_classification_targets(np.repeat(classes, 3))


def encode_labels(y, classes=None):
    """Return the sorted classes and the position of each label among them.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels, as :func:`~sklearn_softmax._labels.as_labels` returns them.
    classes : ndarray or None
        The classes, sorted, where they are known.
    """
    try:
        found, codes = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"y must hold labels that can be sorted: {error}.") from None
    if classes is None or not len(found):
        return (found if classes is None else classes), codes
    check_kind(found, classes)
    positions = np.minimum(np.searchsorted(classes, _like(found, classes)), len(classes) - 1)
    unseen = found[classes[positions] != found]
    if len(unseen):
        raise ValueError(
            f"y has labels that are not in classes: {_shortened(unseen)}. All classes must be "
            f"known at the first call; they are {_shortened(classes)}."
        )
    return classes, positions[codes]


def union_of_labels(parts):
    """Return the distinct labels of all parts, which are arrays of labels, sorted."""
    if len({part.dtype.kind for part in parts}) > 1 and kind_of_labels(parts[0]) == "a number":
        # (Signed and unsigned integers would be joined in float64.)
        return encode_labels(as_labels([label for part in parts for label in part.tolist()]))[0]
    return encode_labels(np.concatenate(parts))[0]


def _like(labels, classes):
    """Return labels that are numbers in the dtype of the classes, to be looked up among those.

    Of different dtypes both would be compared as float64, which confuses large integers.
    """
    if "O" in (labels.dtype.kind, classes.dtype.kind) or labels.dtype.kind not in "biuf":
        return labels
    with np.errstate(invalid="ignore", over="ignore"):
        return labels.astype(classes.dtype)


def check_kind(labels, classes):
    """Raise an error unless labels are of the kind that the classes are, so that they compare."""
    kind, kind_of_classes = kind_of_labels(labels), kind_of_labels(classes)
    if kind != kind_of_classes:
        raise ValueError(
            f"y has labels of another kind than classes: {labels[0]!r} is {kind}, but "
            f"{classes[0]!r} is {kind_of_classes}."
        )


def check_distribution(y, classes=None):
    """Return the classes, and y as an array of probabilities with a column for each.

    Parameters
    ----------
    y : array-like or DataFrame of shape (n_samples, n_classes)
        Probabilities. The columns of a DataFrame are the classes; those of an array are
        numbered, unless ``classes`` names them.
    classes : ndarray or None
        The classes, sorted, where they are known.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Sorted.
    proba : ndarray of shape (n_samples, n_classes)
        Columns in the order of ``classes``.
    """
    names = _names_of_columns(y)
    tolerance = _sum_tolerance(y)
    proba = _as_numbers(in_memory(y, "y"))
    n_columns = proba.shape[1]
    if names is None:
        names = np.arange(n_columns) if classes is None else classes
        if len(names) != n_columns:
            raise ValueError(
                f"y has {n_columns} columns of probabilities, but there are {len(names)} "
                f"classes: {_shortened(names)}."
            )
    else:
        order = np.argsort(names)
        names, proba = names[order], proba[:, order]
        if classes is not None and not np.array_equal(names, classes):
            raise ValueError(
                f"The columns of y are {_shortened(names)}, but the classes are "
                f"{_shortened(classes)}."
            )
    sums = _check_rows_are_distributions(proba, tolerance)
    if tolerance > _SUM_TOLERANCE:
        proba = proba / sums[:, None]
    return names, proba


def _names_of_columns(y):
    """Return the classes that the columns of a DataFrame are; None for an array."""
    if not hasattr(y, "columns"):
        return None
    names = as_labels(list(y.columns), "y.columns")
    found, counts = np.unique(names, return_counts=True)
    if len(found) < len(names):
        raise ValueError(
            "y.columns are the classes, so each must have a name of its own; "
            f"{_shortened(found[counts > 1])} occurs more than once."
        )
    return names


def _sum_tolerance(y):
    """Return how far sums of rows may be from 1: further where the dtype has few digits."""
    dtypes = getattr(y, "dtypes", None)
    if dtypes is None or not np.iterable(dtypes):
        dtypes = [getattr(y, "dtype", None)]
    names = {str(dtype).rsplit(".", 1)[-1].lower() for dtype in dtypes}
    rounding = [_ROUNDING[name] for name in names & _ROUNDING.keys()]
    return max(rounding, default=_SUM_TOLERANCE)


def _as_numbers(y):
    if np.ma.is_masked(y):
        row = int(np.flatnonzero(np.ma.getmaskarray(y).any(axis=1))[0])
        raise ValueError(f"y has missing values: row {row} has masked ones.")
    try:
        return check_array(y, dtype=[np.float64, np.float32], input_name="y")
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
        raise ValueError(
            "A y of two dimensions must hold probabilities, with a column for each class; labels "
            f"have one dimension. It is not a table of numbers: {error}."
        ) from None


def _check_rows_are_distributions(proba, tolerance):
    """Raise an error unless rows are not negative and sum to 1; return their sums."""
    if proba.min() < 0:
        row = int(np.argmin(proba.min(axis=1)))
        raise ValueError(
            "Each row of a 2-dimensional y is a probability distribution over the classes and "
            f"must not be negative; row {row} has {proba[row].min():.6g}."
        )
    sums = proba.sum(axis=1, dtype=np.float64)
    if np.abs(sums - 1.0).max() <= tolerance:
        return sums
    if np.isin(proba, (0.0, 1.0)).all():
        row = int(np.argmax(np.abs(sums - 1.0)))
        raise ValueError(
            f"y looks like multi-label indicators: row {row} has {sums[row]:.0f} labels. Softmax "
            "regression gives one distribution over classes that exclude each other, so its "
            "probabilities cannot all be near 1. For labels that can hold together, fit one "
            "binary model for each: "
            "sklearn.multiclass.OneVsRestClassifier(SoftmaxRegressionClassifier())."
        )
    row = int(np.argmax(np.abs(sums - 1.0)))
    raise ValueError(
        "Each row of a 2-dimensional y is a probability distribution over the classes and must "
        f"sum to 1; row {row} sums to {sums[row]:.6g}. Divide each row by its sum, or give the "
        "sums as sample_weight."
    )


def class_mass(y, n_classes, sample_weight):
    """Return the weight of all rows of each class, (n_classes,).

    Parameters
    ----------
    y : ndarray
        Positions among the classes (n_samples,), or probabilities (n_samples, n_classes).
    n_classes : int
    sample_weight : ndarray of shape (n_samples,) or None
    """
    if y.ndim == 1:
        return np.bincount(y, weights=sample_weight, minlength=n_classes)
    return y.sum(axis=0) if sample_weight is None else sample_weight @ y


def class_weights(class_weight, classes, mass):
    """Return the weight of each class, (n_classes,).

    Parameters
    ----------
    class_weight : dict or "balanced"
        As for the estimator.
    classes : ndarray of shape (n_classes,)
        The classes.
    mass : ndarray of shape (n_classes,)
        What the classes weigh without class weights, for "balanced".
    """
    if class_weight == "balanced":
        present = mass > 0
        # A class that does not occur has no weight to balance.
        return np.where(present, mass.sum() / (present.sum() * np.where(present, mass, 1.0)), 1.0)
    positions = {label: position for position, label in enumerate(classes)}
    unknown = [label for label in class_weight if label not in positions]
    if unknown and len(class_weight) - len(unknown) < len(classes):
        # (Classes that do not occur may be named if all others are: a fold may lack some.)
        raise ValueError(
            f"class_weight names {_shortened(unknown)}, which are not among the classes, "
            f"{_shortened(classes)}."
        )
    weights = np.ones(len(classes))
    for label, weight in class_weight.items():
        if label in positions:
            weights[positions[label]] = _checked_weight(label, weight)
    return weights


def weights_of_rows(y, class_weight, sample_weight):
    """Return what rows weigh, (n_samples,); None where all weigh 1.

    Parameters
    ----------
    y : ndarray
        Positions among the classes (n_samples,), or probabilities (n_samples, n_classes).
    class_weight : ndarray of shape (n_classes,) or None
        What the classes weigh.
    sample_weight : ndarray of shape (n_samples,) or None
        What the rows weigh without that.
    """
    if class_weight is None:
        return sample_weight
    weight = class_weight[y] if y.ndim == 1 else y @ class_weight
    if sample_weight is None:
        return weight
    with np.errstate(over="ignore"):  # (it shows in their sum)
        return weight * sample_weight


def total_weight(weights):
    """Return the sum of weights; an error unless it is one that can be divided by."""
    with np.errstate(over="ignore"):
        total = float(np.sum(weights))
    if total == 0:
        raise ValueError("class_weight and sample_weight leave no row a weight.")
    if not math.isfinite(total):
        raise ValueError(
            "sample_weight, times class_weight, must have a finite sum; it is infinite. Divide the "
            "weights by their largest."
        )
    return total


def _checked_weight(label, weight):
    if not isinstance(weight, Real) or not 0 <= float(weight) < math.inf:
        raise ValueError(
            "class_weight must have a finite number for each class, not negative; that of "
            f"{label!r} is {weight!r}."
        )
    return float(weight)


def split_rows(strata, weight, fraction, random_state):
    """Split the rows into a training and a validation part, stratified where possible.

    Parameters
    ----------
    strata : ndarray of shape (n_samples,)
        The class of each row.
    weight : ndarray of shape (n_samples,) or None
        Rows of weight 0 are in neither part.
    fraction : float
        Share of the rows that are for validation.
    random_state : int or RandomState
        Draws the split.

    Returns
    -------
    train, validation : ndarray of int
        The rows.
    """
    rows = np.arange(len(strata)) if weight is None else np.flatnonzero(weight)
    n_validation = math.ceil(fraction * len(rows))
    if n_validation >= len(rows):
        raise ValueError(
            f"validation_fraction={fraction} must leave rows to train on, but sets aside all "
            f"{len(rows)} that have a weight."
        )
    counts = np.unique_counts(strata[rows]).counts
    # Stratifying needs a row of each class on both sides.
    can_stratify = counts.min() >= 2 and len(counts) <= min(n_validation, len(rows) - n_validation)
    train, validation = train_test_split(
        rows,
        test_size=n_validation,
        stratify=strata[rows] if can_stratify else None,
        random_state=random_state,
    )
    classes, first = np.unique(strata[validation], return_index=True)
    # The model would think a class impossible that it has not seen: one of its rows is moved back.
    kept = first[~np.isin(classes, strata[train])]
    if len(kept) == len(validation):
        raise ValueError(
            f"validation_fraction={fraction} must leave a row of each class to train on, but it "
            f"sets aside {len(validation)} of {len(rows)} rows, each the only one of its class."
        )
    return np.append(train, validation[kept]), np.delete(validation, kept)


def _shortened(values, limit=10):
    shown = ", ".join(repr(value) for value in np.asarray(values[:limit]).tolist())
    return f"[{shown}, ...]" if len(values) > limit else f"[{shown}]"
