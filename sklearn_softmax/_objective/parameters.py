"""The parameters of a linear model, as one flat vector that solvers work on.

The vector holds the coefficients and intercepts of scaled features, which
:mod:`sklearn_softmax._objective.scaling` describes. A model holds those of the features as they
are given. Here the one is translated into the other.
"""

from typing import Literal

import numpy as np

from .._arrays import portable


class LinearParameters:
    """Coefficients and intercepts in a flat float64 vector, in the space of scaled features.

    Parameters
    ----------
    blocks : RowBlocks
        The rows that are multiplied by the coefficients.
    fit_intercept : bool
        Whether there is an intercept b.
    scaling : Scaling
        Centre and scale of the features.
    origin : ndarray of shape (n_features,) or None
        What the blocks subtract from their rows.
    span : RowSpan or None
        Translates coefficients where ``blocks`` are principal components of other rows.
    """

    def __init__(self, blocks, *, fit_intercept, scaling, origin=None, span=None):
        self.blocks = blocks
        self.fit_intercept = fit_intercept
        self.scaling = scaling
        self.n_classes = blocks.n_classes
        self.n_features = blocks.n_features
        self.n_outputs = n_outputs(blocks.n_classes)
        # Sparse products read W feature by feature, dense ones class by class.
        self.order: Literal["C", "F"] = "F" if blocks.is_sparse else "C"
        self._origin = origin
        self._span = span

    @property
    def n_columns(self):
        """Number of parameters for each output: features, and the intercept if any."""
        return self.n_features + self.fit_intercept

    def pack(self, matrix):
        """Return the flat vector of an (n_outputs, n_columns) matrix."""
        return portable.flatten(matrix, self.order)

    def unpack(self, vector):
        """Return a flat vector as an (n_outputs, n_columns) view; the intercept is last."""
        return portable.as_matrix(vector, (self.n_outputs, self.n_columns), self.order)

    def split(self, matrix):
        """Return the features' columns, and the intercept's (zeros if there is none)."""
        if self.fit_intercept:
            return matrix[:, :-1], matrix[:, -1]
        return matrix, portable.zeros((matrix.shape[0],), matrix)

    def parameters(self, coef, intercept):
        """Return the flat vector for raw coefficients and intercepts."""
        coef, intercept = (self.blocks.place(values) for values in (coef, intercept))
        if self._span is not None:
            coef, intercept = self._span.from_raw(coef, intercept)
        if self._origin is not None:
            intercept = intercept + coef @ self.blocks.origin
        return self._scaled(coef, intercept)

    def _scaled(self, coef, intercept):
        """Return the flat vector for coefficients and intercepts of the rows of the blocks."""
        coef, intercept = self.scaling.from_raw(coef, intercept)
        matrix = portable.zeros((self.n_outputs, self.n_columns), coef, self.order)
        matrix[:, : self.n_features] = coef
        if self.fit_intercept:
            matrix[:, -1] = intercept
        return self.pack(matrix)

    def carried(self, vector, other):
        """Return another objective's parameters in the scaled space of this one.

        The other is of the same rows: see :meth:`with_penalty`.
        """
        return self._scaled(*other.coefficients(vector))

    def coefficients(self, vector):
        """Return raw coefficients and intercepts, (W, b), for a flat vector."""
        return self.scaling.to_raw(*self.split(self.unpack(vector)))

    def model(self, vector):
        """Return (W, b) to publish: the intercepts of three and more classes are centred.

        Adding a constant to all of them changes nothing; this is the choice that
        LogisticRegression makes too.
        """
        coef, intercept = (portable.to_numpy(part) for part in self.coefficients(vector))
        if self._span is not None:
            coef, intercept = self._span.to_raw(coef, intercept)
        if self._origin is not None:
            intercept = intercept - coef @ self._origin
        if self.n_outputs > 1:
            intercept = intercept - intercept.mean()
        return coef, intercept

    def cancellation(self, coef):
        """Return a bound of the terms that cancel each other in an average logit."""
        center = self.scaling.center if self._origin is None else self._origin
        if self._span is not None:
            center = self._span.mean
        elif self.scaling.is_trivial:
            return 0.0
        center = portable.to_numpy(center)
        size = np.abs(center)
        if self._span is None:
            # (Of features that cancel each other, too: each reaches about as far as its scale.)
            size = size + portable.to_numpy(self.scaling.scale)
        return float(np.max(np.abs(coef) @ size))


def n_outputs(n_classes):
    """Return the number of rows of W: two classes need one."""
    return 1 if n_classes == 2 else n_classes
