"""What y may be: class labels, or a distribution over the classes for each row."""

import math

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

# Kinds of dtypes that hold labels whatever their values: booleans, integers and strings.
_LABEL_KINDS = "biuU"
# How far a row of probabilities may be from summing to 1.
_SUM_TOLERANCE = 1e-5


def is_distribution(y):
    """Return whether y has a column for each class: 2-dimensional, and not just one column."""
    shape = getattr(y, "shape", None)
    if shape is None and isinstance(y, (list, tuple)) and len(y) > 0:
        shape = np.shape(y[0])
        return len(shape) == 1 and shape[0] > 1
    return shape is not None and len(shape) == 2 and shape[1] > 1


def check_labels(y, classes=None):
    """Check that labels are such; parameters and result as for :func:`encode_labels`."""
    if y.dtype.kind not in _LABEL_KINDS:
        check_classification_targets(y)
    found, codes = encode_labels(y, classes)
    if 2 * len(found) > len(y):  # (it warns of that)
        check_classification_targets(y)
    return found, codes


def check_classes(classes):
    """Raise an error if what was found as labels are numbers of a regression."""
    if classes.dtype.kind not in _LABEL_KINDS:
        # (It warns where most labels differ from each other, as these do.)
        check_classification_targets(np.repeat(classes, 3))


def encode_labels(y, classes=None):
    """Return the sorted classes and the position of each label among them.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels.
    classes : ndarray or None
        The classes, sorted, where they are known.
    """
    found, codes = np.unique(y, return_inverse=True)
    if classes is None:
        return found, codes
    unseen = np.setdiff1d(found, classes)
    if len(unseen):
        raise ValueError(
            f"y has labels that are not in classes: {_shortened(unseen)}. All classes must be "
            f"known at the first call; they are {_shortened(classes)}."
        )
    return classes, np.searchsorted(classes, found)[codes]


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
    names = np.asarray(list(y.columns)) if hasattr(y, "columns") else None
    proba = check_array(y, dtype=[np.float64, np.float32], input_name="y")
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
    _check_rows_are_distributions(proba)
    return names, proba


def _check_rows_are_distributions(proba):
    if proba.min() < 0:
        row = int(np.argmin(proba.min(axis=1)))
        raise ValueError(
            "Each row of a 2-dimensional y is a probability distribution over the classes and "
            f"must not be negative; row {row} has {proba[row].min():.6g}."
        )
    sums = proba.sum(axis=1, dtype=np.float64)
    if np.abs(sums - 1.0).max() <= _SUM_TOLERANCE:
        return
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
        What they weigh without it, for "balanced".
    """
    if class_weight == "balanced":
        present = mass > 0
        # A class that does not occur has no weight to balance.
        return np.where(present, mass.sum() / (present.sum() * np.where(present, mass, 1.0)), 1.0)
    return compute_class_weight(class_weight, classes=classes, y=classes)


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
    counts = np.unique_counts(strata[rows]).counts
    n_validation = math.ceil(fraction * len(rows))
    # Stratifying needs a row of each class on both sides.
    can_stratify = counts.min() >= 2 and len(counts) <= min(n_validation, len(rows) - n_validation)
    return train_test_split(
        rows,
        test_size=n_validation,
        stratify=strata[rows] if can_stratify else None,
        random_state=random_state,
    )


def _shortened(values, limit=10):
    shown = ", ".join(repr(value) for value in values[:limit].tolist())
    return f"[{shown}, ...]" if len(values) > limit else f"[{shown}]"
