"""Predictions of a linear softmax model, block by block on all threads."""

import numpy as np
import scipy.sparse as sp

from ._arrays import portable
from ._labels import as_labels
from ._rows.blas_threads import BlasRestored
from ._rows.dispatch import rows_of
from ._rows.sums import linear_logits
from ._targets import check_distribution, check_kind
from .functional import log_softmax, softmax

# Rounding errors of logits that do no harm: the loss is changed by about an eighth of the square.
LARGEST_ROUNDING = 1e-4
# Rows that show how large logits' terms are.
_SHOWN_ROWS = 64


def predict_finite(X, coef, intercept, transform, check, **options):
    """Return a function of the logits of each row, which are finite; or raise an error.

    Parameters are those of :func:`predict_blocks`; ``check()`` raises an error if X is not finite.
    """
    result, is_finite = predict_blocks(X, coef, intercept, transform, **options)
    if is_finite:
        return result
    check()
    result, is_finite = predict_blocks(X, coef, intercept, transform, **options, dtype=np.float64)
    if not is_finite:
        raise ValueError(
            "X holds values too large for this model: its logits are not finite. Scale X."
        )
    return result


def predict_blocks(X, coef, intercept, transform, *, n_classes, n_jobs, dtype=None):
    """Return a function of the logits of each row.

    Nothing as large as the logits of all rows is made besides the result.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        The rows.
    coef, intercept : ndarray
        The model, in raw features.
    transform : callable
        Of class-major logits (n_classes, n_rows), which it may overwrite; returns (n_rows,)
        or (n_columns, n_rows).
    n_classes : int
        Number of classes.
    n_jobs : int or None
        Number of threads.
    dtype : dtype or None
        What to take products in, where that is not the dtype of X.

    Returns
    -------
    result : ndarray of shape (n_samples,) or (n_samples, n_columns)
    is_finite : bool
        Whether all logits are. If they are, so is X, which need not be searched for NaN.
    """
    with BlasRestored(), rows_of(X, n_classes=n_classes, n_jobs=n_jobs) as blocks:
        coef = coef.toarray() if sp.issparse(coef) else coef
        own_dtype = blocks.dtype
        if dtype is not None or needs_float64(blocks, coef):
            blocks = blocks.recast(np.float64 if dtype is None else dtype)
        coef = coef.astype(blocks.dtype, order="F" if blocks.is_sparse else "C", copy=False)
        coef, intercept = blocks.place(coef), blocks.place(intercept.astype(blocks.dtype))

        sample = transform(blocks.place(np.zeros((n_classes, 1), dtype=blocks.dtype)))
        shape = blocks.n_rows, *sample.shape[:-1]
        sample_dtype = portable.dtype_of(sample)
        result_dtype = own_dtype if sample_dtype.kind == "f" else sample_dtype
        result = portable.empty(shape, blocks.sample, result_dtype)
        totals, share = [], blocks.sparse_share

        def fill(index, block):
            with np.errstate(over="ignore", invalid="ignore"):  # in each thread
                logits = linear_logits(block.X, coef, intercept, share)
                totals.append(portable.namespace(logits).sum(logits))
                values = portable.cast(transform(logits), result_dtype)
                result[index, ...] = values.T if values.ndim == 2 else values

        blocks.for_each(fill)
    return result, bool(np.isfinite(portable.numbers(totals)).all())


def needs_float64(blocks, coef):
    """Return whether float32 would lose in the logits what the coefficients tell.

    What features far from zero add to them cancels: against each other, or the intercept.
    """
    if blocks.dtype == np.float64 or coef.dtype == np.float32 or not blocks.n_rows:
        return False
    rows = abs(portable.on_host(blocks.take(slice(0, min(_SHOWN_ROWS, blocks.n_rows))).X))
    with np.errstate(over="ignore", invalid="ignore"):  # (others say what is wrong with X)
        largest = np.max(rows @ np.abs(coef).T)
    return bool(largest * np.finfo(np.float32).eps > LARGEST_ROUNDING)


def predict_rows(coef, intercept, transform, labels, X):
    """Return predictions for rows that are at hand; an error where they are not finite.

    Parameters as for :func:`predict_blocks`; with ``labels`` the result are those at the
    positions that ``transform`` returns.
    """
    n_classes = max(len(intercept), 2)

    def check():
        if not portable.all_finite(X):
            raise ValueError("X contains NaN or infinity.")

    options = {"n_classes": n_classes, "n_jobs": 1}
    result = predict_finite(X, coef, intercept, transform, check, **options)
    return result if labels is None else labels[result]


def is_hit(coef, intercept, labels, X, y):
    """Return for each row whether its label is predicted; or the probability y has there."""
    positions = predict_rows(coef, intercept, most_probable, None, X)
    if y.ndim == 2 and y.shape[1] > 1:
        _, proba = check_distribution(y, labels)
        return proba[np.arange(len(proba)), positions]
    y = as_labels(y)
    if len(y) != len(positions):
        raise ValueError(f"X has {len(positions)} rows, but y has {len(y)}.")
    check_kind(y, labels)
    return (y == labels[positions]).astype(np.float64)


def most_probable(logits):
    """Return the position of the largest logit of each row."""
    if not isinstance(logits, np.ndarray):
        return portable.namespace(logits).argmax(logits, axis=0)
    # NumPy finds the first True of a column in half the time that it takes to compare numbers.
    return (logits == logits.max(axis=0)).argmax(axis=0)


def probabilities(logits):
    """Return class-major probabilities, over the logits."""
    return softmax(logits, axis=0, overwrite_logits=True)


def log_probabilities(logits):
    """Return class-major log-probabilities."""
    return log_softmax(logits, axis=0)


def log_odds(logits):
    """Return the logits, or of two classes the second's alone."""
    return logits[1, :] if logits.shape[0] == 2 else logits


def labels_at(labels, positions):
    """Return the labels at some positions: where those are, if labels can be there."""
    if isinstance(positions, np.ndarray) or labels.dtype.kind not in "biuf":
        return labels[portable.to_numpy(positions)]
    if labels.dtype.kind == "u" and labels.dtype.itemsize > 1:  # (PyTorch cannot take these)
        return portable.as_like(labels[portable.to_numpy(positions)], positions)
    labels = portable.as_like(labels, positions)
    return portable.namespace(positions).take(labels, positions, axis=0)
