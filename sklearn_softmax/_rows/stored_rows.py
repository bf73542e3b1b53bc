"""Rows of X with their targets and weights, and how some of them are taken."""

import copy
import functools
from typing import Any, NamedTuple

import numpy as np

from .._arrays import native, portable
from .reading import shuffled


class Block(NamedTuple):
    """Some rows: ``X`` in the float dtype, ``y`` and ``weight`` (or None) to match.

    ``y`` is an integer array of class codes (n_rows,), or class-major probabilities
    (n_classes, n_rows).
    """

    X: Any
    y: np.ndarray | None
    weight: np.ndarray | None

    @property
    def row_weights(self):
        """The weights, also where all are 1."""
        if self.weight is None:
            return portable.as_like(np.ones(self.X.shape[0]), self.X)
        return self.weight

    def take_parts(self):
        """Return a function that takes a slice of the rows of X, and the weights of all rows."""
        return functools.partial(native.take_rows, self.X), self.row_weights


class StoredRows:
    """Rows as they are stored, from which blocks are taken.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Never copied or changed; integers are converted one block at a time.
    y : ndarray or None
        Class codes of shape (n_samples,), or probabilities of shape (n_samples, n_classes);
        None where there are only predictions to make.
    weight : ndarray of shape (n_samples,) or None
        The weight of each row, class weights included.
    n_classes : int
        Number of classes.
    class_weight : ndarray of shape (n_classes,) or None
        For probabilities only: a row with several possible classes stands for that many
        weighted rows, so class weights tilt its distribution. ``weight`` holds their mean.
    """

    # Whether all rows are at hand at once; whether they are in this process.
    is_in_memory = True
    is_local = True
    # Whether parameters and sums are NumPy arrays; an empty array of their library.
    is_numpy = True
    sample = np.empty(0)
    # What is subtracted from dense rows; None for nothing.
    origin: Any = None

    def __init__(self, X, y=None, weight=None, *, n_classes, class_weight=None):
        self.X = X
        self.n_rows, self.n_features = X.shape
        self.y = self.place(y)
        self.set_weight(weight)
        self.class_weight = self.place(class_weight)
        self.n_classes = n_classes
        self.stored_dtype = portable.dtype_of(X)
        self.dtype = portable.float_dtype(self.stored_dtype)
        self.is_sparse = hasattr(X, "indptr")

    def place(self, values):
        """Return a NumPy array where sums with the rows are computed; None as it is."""
        return values

    @property
    def has_labels(self):
        """Whether y is class codes."""
        return self.y is not None and self.y.ndim == 1

    @property
    def n_stored(self):
        """Number of entries of X that a product has to touch."""
        return native.stored_entries(self.X)

    def recast(self, dtype, origin=None):
        """Return the same rows, for products in another dtype; within the context of these.

        With an ``origin``, a NumPy array of shape (n_features,), it is subtracted from them first,
        in float64.
        """
        other = copy.copy(self)
        other.dtype = np.dtype(dtype)
        other.origin = self.origin if origin is None else self.place(origin)
        return other

    # Weights ---------------------------------------------------------------------------

    def set_weight(self, weight):
        """Give the rows other weights, a NumPy array of shape (n_samples,), or None."""
        # (The host's are NumPy's, wherever the rows are; None where all are 1.)
        self.host_weight, self.weight = weight, self.place(weight)
        self.total_weight = float(self.n_rows if weight is None else np.sum(weight))
        self.n_weighted = self.n_rows if weight is None else np.count_nonzero(weight)
        # Of the rows that have a weight.
        self.mean_weight = float(self.total_weight / max(self.n_weighted, 1))

    def with_weight(self, weight, class_weight=None):
        """Return the same rows with other weights; within the context of these.

        Parameters
        ----------
        weight : ndarray of shape (n_samples,)
        class_weight : ndarray of shape (n_classes,) or None, default=None
            As for the class.
        """
        other = copy.copy(self)
        other.set_weight(weight)
        other.class_weight = self.place(class_weight)
        return other

    def _weighted(self, index):
        """Return the positions in a slice of rows of positive weight; positions as they are.

        A row of weight 0 may hold anything, and 0 times that need not be 0.
        """
        if not isinstance(index, slice) or self.n_weighted == self.n_rows:
            return index
        kept = np.flatnonzero(self.host_weight[index])
        is_all = len(kept) == index.stop - index.start
        return index if is_all else index.start + kept

    # Order -----------------------------------------------------------------------------

    def order(self, rng=None):
        """Return the positions of the rows of positive weight, as they come or shuffled.

        Parameters
        ----------
        rng : numpy.random.Generator or None
            Draws their order; None leaves them as they come.
        """
        weight = self.host_weight
        rows = np.arange(self.n_rows) if weight is None else np.flatnonzero(weight)
        return rows if rng is None else shuffled(rows, self.X, rng)

    def leading(self, order):
        """Return positions of rows that show what those of an order are like."""
        return order

    # Blocks ----------------------------------------------------------------------------

    def take(self, index):
        """Return the rows at ``index`` as a block: a view of a slice, a copy of positions.

        Of a slice, rows of weight 0 are left out.
        """
        X, y, weight = self._take_stored(self._weighted(index))
        if y is not None and y.ndim == 2:
            y = portable.cast(self._tilted(y).T, self.dtype, "C")
        if self.origin is not None:
            X = portable.cast(X, np.float64) - self.origin
        return Block(native.as_float(X, self.dtype), y, weight)

    def take_parts(self, index=None):
        """Return a function that takes a slice of the rows at ``index``, and the weights of those.

        None stands for all rows of positive weight. Rows in memory are gathered only when the
        function takes them.
        """
        if index is None and self.n_weighted < self.n_rows:
            index = np.flatnonzero(self.host_weight)
        weight = self.weight
        if weight is None:
            weight = self.place(np.ones(self.n_rows if index is None else len(index)))
        elif index is not None:
            weight = native.take_rows(weight, index)
        return lambda part: self.take(part if index is None else index[part]).X, weight

    def _take_stored(self, index):
        """Return the rows as they are stored: X in its own dtype, probabilities by row."""
        X, y, weight = (
            None if values is None else native.take_rows(values, index)
            for values in (self.X, self.y, self.weight)
        )
        return Block(X, y, weight)

    def _tilted(self, proba):
        """Return rows of probabilities times the class weights, each divided by its sum."""
        if self.class_weight is None:
            return proba
        proba = proba * self.class_weight
        # A row whose classes all have weight 0 has weight 0 itself.
        total = portable.namespace(proba).sum(proba, axis=1, keepdims=True)
        proba /= portable.at_least(total, np.finfo(np.float32).tiny)
        return proba
