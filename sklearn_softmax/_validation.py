"""What ``fit`` and ``partial_fit`` are given, checked and made ready."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.validation import _check_sample_weight, validate_data

from . import _targets
from ._arrays import (
    all_finite,
    detached,
    dtype_of,
    float_dtype,
    is_dask,
    is_foreign,
    is_sliceable,
    kind_of,
    on_gpu,
    on_host,
    to_numpy,
)
from ._places import rows_of

# Rows of a file that are searched for NaN at once.
_CHECKED_ROWS = 4096

# Features of any dtype and layout are taken as they are; CSC becomes CSR.
# X is not searched for NaN and infinity: they show in the first loss, and in every logit.
FEATURE_CHECKS = {
    "accept_sparse": "csr",
    "accept_large_sparse": True,
    "dtype": "numeric",
    "ensure_all_finite": False,
}


@contextmanager
def refused_if_not_finite(estimator, data):
    """Say that X is not finite where that is why something fails."""
    try:
        yield
    except ValueError:
        try:
            data.check_finite(estimator)
        except ValueError as reason:
            raise reason from None
        raise


def check_finite(estimator, X):
    """Raise an error if X holds NaN or infinity."""
    if is_foreign(X):
        if not all_finite(X):
            raise ValueError("Input X contains NaN or infinity.")
        return
    names = {"estimator_name": type(estimator).__name__, "input_name": "X"}
    if not is_sliceable(X):
        assert_all_finite(X, **names)
        return
    for start in range(0, X.shape[0], _CHECKED_ROWS):
        assert_all_finite(np.asarray(X[start : start + _CHECKED_ROWS]), **names)


def check_features(estimator, X, *, reset):
    """Return X checked, where ``device`` wants it; what is in a file is not read."""
    if estimator.device == "cpu":
        X = on_host(X)
    if is_foreign(X):
        X = detached(X)
    elif not is_sliceable(X):
        X = validate_data(estimator, X, reset=reset, **FEATURE_CHECKS)
        return on_gpu(X) if estimator.device == "cuda" else X
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(
            "X must have two dimensions, with at least one sample and one feature; its shape is "
            f"{tuple(X.shape)}."
        )
    if kind_of(X) not in "biuf":
        raise ValueError(f"X must hold numbers; its dtype is {X.dtype}.")
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    return on_gpu(X) if estimator.device == "cuda" else X


def in_memory(values):
    """Return what is as long as there are rows as an array, if it is in a file or on a device."""
    if is_foreign(values):
        return to_numpy(values)
    return np.asarray(values[:]) if is_sliceable(values) else values


@dataclass
class TrainingData:
    """Checked training data.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    y : ndarray
        Positions among the classes (n_samples,), or probabilities (n_samples, n_classes).
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    weight : ndarray of shape (n_samples,) or None
        Sample weights times class weights.
    class_weight : ndarray of shape (n_classes,) or None
        What the classes weigh.
    """

    X: Any
    y: np.ndarray
    classes: np.ndarray
    weight: np.ndarray | None
    class_weight: np.ndarray | None

    @property
    def total_weight(self):
        """The sum of the weights."""
        return float(self.X.shape[0] if self.weight is None else self.weight.sum())

    @property
    def n_features(self):
        """Number of features."""
        return self.X.shape[1]

    @property
    def dtype(self):
        """The dtype that X is computed in."""
        return float_dtype(dtype_of(self.X))

    def check_finite(self, estimator):
        """Raise an error if X holds NaN or infinity."""
        check_finite(estimator, self.X)

    def rows(self, n_jobs):
        """Return the rows, to be summed over by so many threads."""
        return rows_of(
            self.X,
            self.y,
            self.weight,
            n_classes=len(self.classes),
            class_weight=self.class_weight,
            n_jobs=n_jobs,
        )

    @property
    def strata(self):
        """The most probable class of each row."""
        return self.y if self.y.ndim == 1 else self.y.argmax(axis=1)


def check_training_data(estimator, X, y, sample_weight, *, classes=None, is_stream=False):
    """Return the arguments of ``fit``, or of ``partial_fit`` (``is_stream``), checked.

    Sets ``n_features_in_`` and ``feature_names_in_`` of the estimator where it starts anew.
    """
    is_first = not (is_stream and hasattr(estimator, "classes_"))
    if is_dask(X):
        from ._dask_data import check_dask_data

        known = _known_classes(estimator, classes) if is_stream else None
        return check_dask_data(estimator, X, y, sample_weight, known=known, reset=is_first)
    is_distribution = _targets.is_distribution(y)
    y, sample_weight = (in_memory(values) for values in (y, sample_weight))
    X = on_host(X) if estimator.device == "cpu" else X
    if is_distribution or is_sliceable(X) or is_foreign(X):
        X = check_features(estimator, X, reset=is_first)
        if not is_distribution:
            y = column_or_1d(y, warn=True)
            check_consistent_length(X, y)
    else:
        X, y = validate_data(estimator, X, y, reset=is_first, **FEATURE_CHECKS)
        X = on_gpu(X) if estimator.device == "cuda" else X
    known = _known_classes(estimator, classes) if is_stream else None
    if is_distribution:
        classes, y = _targets.check_distribution(y, known)
        if len(y) != X.shape[0]:
            raise ValueError(f"X has {X.shape[0]} rows, but y has {len(y)}.")
    else:
        classes, y = _targets.check_labels(y, known)
    if len(classes) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs samples of at least 2 classes in the data, but "
            f"the data contains only one class: {classes[0]}."
        )
    if sample_weight is not None:
        sample_weight = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
    if estimator.class_weight is None:
        return TrainingData(X, y, classes, sample_weight, None)
    mass = _targets.class_mass(y, len(classes), sample_weight)
    class_weight = _targets.class_weights(estimator.class_weight, classes, mass)
    weight = class_weight[y] if y.ndim == 1 else y @ class_weight
    if sample_weight is not None:
        weight = weight * sample_weight
    if not weight.any():
        raise ValueError("class_weight and sample_weight leave no row a weight.")
    return TrainingData(X, y, classes, weight, class_weight)


def refuse_for_streams(estimator):
    """Raise an error for parameters that need all rows at once."""
    if estimator.early_stopping:
        raise ValueError(
            "partial_fit does not support early_stopping=True: it has no rows to set aside."
        )
    if estimator.learning_rate == "cosine":
        raise ValueError(
            "partial_fit does not support learning_rate='cosine', which falls to 0 at the end: a "
            "stream has none. Use 'invscaling'."
        )
    if estimator.class_weight == "balanced":
        raise ValueError(
            "partial_fit does not support class_weight='balanced', which needs the shares of the "
            "classes in all rows. Pass them as a dict: class_weight=dict(zip(classes, "
            "sklearn.utils.compute_class_weight('balanced', classes=classes, y=y)))."
        )


def check_warm_start(estimator, data):
    """Raise an error unless a fitted estimator has the classes and features of the data."""
    same_classes = np.array_equal(estimator.classes_, data.classes)
    n_before, n_features = estimator.coef_.shape[1], data.n_features
    if not same_classes or n_before != n_features:
        raise ValueError(
            "warm_start needs the classes and features of the last fit, "
            f"{estimator.classes_.tolist()} and {n_before} features; now they are "
            f"{data.classes.tolist()} and {n_features} features."
        )


def _known_classes(estimator, classes):
    if classes is None:
        if not hasattr(estimator, "classes_"):
            raise ValueError(
                "classes must be passed at the first call of partial_fit: the labels of all "
                "classes that there will be."
            )
        return estimator.classes_
    classes = np.unique(np.asarray(classes))
    if hasattr(estimator, "classes_") and not np.array_equal(classes, estimator.classes_):
        raise ValueError(
            f"classes is {classes.tolist()}, but the model's classes are "
            f"{estimator.classes_.tolist()}; they cannot change between calls of partial_fit."
        )
    return classes
