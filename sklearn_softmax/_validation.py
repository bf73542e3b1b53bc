"""What ``fit``, ``partial_fit`` and ``predict`` are given, checked and made ready."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.validation import _check_sample_weight, validate_data

from . import _targets
from ._arrays.data_frames import check_columns
from ._arrays.portable import (
    all_finite,
    detached,
    dtype_of,
    float_dtype,
    in_memory,
    is_dask,
    is_foreign,
    is_foreign_sparse,
    is_sliceable,
    kind_of,
    on_gpu,
    on_host,
    refuse_without_entries,
)
from ._arrays.sparse import canonical_foreign_rows, canonical_rows, native_values
from ._labels import as_labels
from ._rows.dispatch import rows_of

# Rows of a file that are searched for NaN at once.
_CHECKED_ROWS = 4096

# Features of any dtype and layout are taken as they are. Sparse ones are CSR already.
# X is not searched for NaN and infinity: these show in the first loss, and in every logit.
FEATURE_CHECKS = {
    "accept_sparse": "csr",
    "accept_large_sparse": True,
    "dtype": "numeric",
    "ensure_all_finite": False,
}


@contextmanager
def refused_if_not_finite(estimator, data):
    """Return a context in which an error says that X is not finite, if that is the reason."""
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
    """Return X checked, for ``fit`` or for ``predict``, where ``device`` wants it.

    What is in a file is not read, and a Dask collection is not computed.
    """
    if is_dask(X):
        from ._rows.dask.data import check_dask_features

        return check_dask_features(estimator, X, reset=reset)
    if is_foreign(X):
        refuse_without_entries(X, "X")
    if estimator.device == "cpu":
        X = on_host(X)
    if is_foreign_sparse(X):
        X = canonical_foreign_rows(X)
    elif is_foreign(X):
        X = detached(X)
    elif not is_sliceable(X):
        X = _check_host_features(estimator, X, reset=reset)
        return on_gpu(X) if estimator.device == "cuda" else X
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(
            "X must have two dimensions, with at least one sample and one feature; its shape is "
            f"{tuple(X.shape)}."
        )
    _check_holds_numbers(X)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    return on_gpu(X) if estimator.device == "cuda" else X


def _check_host_features(estimator, X, *, reset):
    """Return what scikit-learn makes of X: an array, or a canonical CSR matrix of its own."""
    if np.ma.is_masked(X):
        raise ValueError(
            "X is a masked array with masked entries, which is not supported: a masked entry is a "
            "missing value. Fill them in, or leave out their rows."
        )
    is_sparse = sp.issparse(X)
    X = canonical_rows(X) if is_sparse else X
    _check_holds_numbers(X)
    check_columns(X)
    X = validate_data(estimator, X, reset=reset, **FEATURE_CHECKS)
    _check_holds_numbers(X)
    if X.dtype == object:  # (scikit-learn makes it of some data frames)
        X = native_values(X)
    # (A data frame of sparse columns has become a matrix just now.)
    return canonical_rows(X) if sp.issparse(X) and not is_sparse else X


def _check_holds_numbers(X):
    """Raise an error if the dtype of an array is that of times or of records."""
    if not hasattr(X, "dtype"):
        return
    is_checked_later = isinstance(X, np.ndarray) or sp.issparse(X)
    if kind_of(X) not in ("biufOUSc" if is_checked_later else "biuf"):
        raise ValueError(f"X must hold numbers; its dtype is {X.dtype}.")


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
    sample_weight : ndarray of shape (n_samples,) or None
        What the rows weigh without that.
    """

    X: Any
    y: np.ndarray
    classes: np.ndarray
    weight: np.ndarray | None
    class_weight: np.ndarray | None
    sample_weight: np.ndarray | None = None

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
    name, is_first = type(estimator).__name__, not (is_stream and hasattr(estimator, "classes_"))
    _targets.check_given(y, name)
    if is_dask(X):
        from ._rows.dask.data import check_dask_data

        known = _known_classes(estimator, classes, y) if is_stream else None
        return check_dask_data(estimator, X, y, sample_weight, known=known, reset=is_first)
    sample_weight = in_memory(sample_weight, "sample_weight")
    X = check_features(estimator, X, reset=is_first)
    is_distribution = _targets.is_distribution(y)
    known = _known_classes(estimator, classes, y) if is_stream else None
    if is_distribution:
        classes, y = _targets.check_distribution(y, known)
        if len(y) != X.shape[0]:
            raise ValueError(f"X has {X.shape[0]} rows, but y has {len(y)}.")
    else:
        y = as_labels(in_memory(y, "y"), warn=True)
        check_consistent_length(X, y)
        classes, y = _targets.check_labels(y, known)
    _targets.check_number_of_classes(classes, name)
    if sample_weight is not None:
        sample_weight = _checked_weight(sample_weight, X)
    weight, class_weight = row_weights(estimator.class_weight, classes, y, sample_weight)
    if weight is not None:
        _check_finite_without_weight(estimator, X, weight)
    return TrainingData(X, y, classes, weight, class_weight, sample_weight)


def row_weights(class_weight, classes, y, sample_weight):
    """Return what rows weigh, and what classes do; None where all weigh 1.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        As for the estimator.
    classes : ndarray of shape (n_classes,)
    y : ndarray
        Positions among the classes (n_samples,), or probabilities (n_samples, n_classes).
    sample_weight : ndarray of shape (n_samples,) or None
    """
    of_classes = None
    if class_weight is not None:
        mass = _targets.class_mass(y, len(classes), sample_weight)
        of_classes = _targets.class_weights(class_weight, classes, mass)
    weight = _targets.weights_of_rows(y, of_classes, sample_weight)
    if weight is not None:
        _targets.total_weight(weight)
    return weight, of_classes


def _checked_weight(sample_weight, X):
    if np.ma.is_masked(sample_weight):
        raise ValueError("sample_weight is a masked array with masked entries: fill them in.")
    try:
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    except (TypeError, ValueError) as error:
        if "ample" in str(error):  # (the message names it)
            raise
        raise ValueError(f"sample_weight must hold numbers: {error}.") from None
    _targets.total_weight(weight)
    return weight


def _check_finite_without_weight(estimator, X, weight):
    """Raise an error if rows of weight 0 hold NaN or infinity, which no loss need show."""
    is_left_out = weight == 0
    if not is_left_out.any():
        return
    if not is_sliceable(X):
        check_finite(estimator, X)
        return
    for start in range(0, X.shape[0], _CHECKED_ROWS):
        if is_left_out[start : start + _CHECKED_ROWS].any():
            check_finite(estimator, np.asarray(X[start : start + _CHECKED_ROWS]))


def mean_hits(y, predicted, classes, sample_weight):
    """Return the weighted share of the rows whose label was predicted.

    Of a distribution y, the probability that it has there counts.
    """
    weight = None
    if sample_weight is not None:
        weight = _checked_weight(in_memory(sample_weight, "sample_weight"), predicted)
    if _targets.is_distribution(y):
        _, proba = _targets.check_distribution(y, classes)
        check_consistent_length(predicted, proba)
        hits = proba[np.arange(len(proba)), np.searchsorted(classes, predicted)]
    else:
        y = as_labels(in_memory(y, "y"))
        check_consistent_length(predicted, y)
        _targets.check_kind(y, classes)
        hits = y == predicted
    return float(np.average(hits, weights=weight))


def mean_log_likelihood(y, log_proba, classes, sample_weight):
    """Return the weighted mean log-likelihood of labels or distributions, in nats."""
    weight = None
    if sample_weight is not None:
        weight = _checked_weight(in_memory(sample_weight, "sample_weight"), log_proba)
    if _targets.is_distribution(y):
        _, proba = _targets.check_distribution(y, classes)
        check_consistent_length(log_proba, proba)
        # (A class that cannot occur counts nothing, also if the model knows that it cannot.)
        possible = proba > 0
        products = np.where(possible, proba, 0) * np.where(possible, log_proba, 0)
        values = np.sum(products, axis=1, dtype=np.float64)
    else:
        y = as_labels(in_memory(y, "y"))
        check_consistent_length(log_proba, y)
        _targets.check_kind(y, classes)
        unseen = y[~np.isin(y, classes)]
        if len(unseen):
            label = unseen.tolist()[0]
            raise ValueError(
                f"y must hold labels of the model's classes, {classes.tolist()}; got {label!r}. "
                f"The label {label!r} is one that the estimator was not fitted with, so its "
                "probability is 0, and the cross-entropy is infinite. Stratify the folds by class."
            )
        values = log_proba[np.arange(len(y)), _targets.encode_labels(y, classes)[1]]
    return float(np.average(values.astype(np.float64), weights=weight))


def refuse_for_streams(estimator):
    """Raise an error for parameters that need all rows at once."""
    if estimator.early_stopping:
        raise ValueError(
            "partial_fit does not support early_stopping=True: it has no rows to set aside."
        )
    if estimator.learning_rate == "cosine":
        raise ValueError(
            "partial_fit does not support learning_rate='cosine', which falls to 0 at the end, "
            "and a stream has no end. Use 'invscaling'."
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
    n_before, n_features = np.shape(estimator.coef_)[-1], data.n_features
    if not same_classes or n_before != n_features:
        raise ValueError(
            "warm_start needs the classes and features of the last fit, "
            f"{estimator.classes_.tolist()} and {n_before} features; now they are "
            f"{data.classes.tolist()} and {n_features} features."
        )


def _known_classes(estimator, classes, y):
    if classes is None:
        if not hasattr(estimator, "classes_"):
            raise ValueError(
                "classes must be passed at the first call of partial_fit: the labels of all "
                "classes that there will be."
            )
        return estimator.classes_
    given = as_labels(in_memory(classes, "classes"), "classes")
    classes = _targets.encode_labels(given)[0]
    if (
        _targets.is_distribution(y)
        and not hasattr(y, "columns")
        and not np.array_equal(classes, given)
    ):
        raise ValueError(
            "classes must be sorted where y is an array of probabilities, whose columns are in "
            f"the order of classes_: {classes.tolist()}, not {given.tolist()}."
        )
    if hasattr(estimator, "classes_") and not np.array_equal(classes, estimator.classes_):
        raise ValueError(
            f"classes is {classes.tolist()}, but the model's classes are "
            f"{estimator.classes_.tolist()}; they cannot change between calls of partial_fit."
        )
    return classes
