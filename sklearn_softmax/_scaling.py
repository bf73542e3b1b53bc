"""Centring and scaling of features in the space of the parameters."""

import numpy as np

from . import _arrays
from ._sums import Moments, StoredSquares


class Scaling:
    r"""Features centred and scaled in parameter space; X itself is never touched.

    With :math:`z = (x - \mu) / \sigma`, the same logits are :math:`V z + b'` for
    :math:`V = W \sigma` (column by column) and :math:`b' = b + W \mu`. Solvers work on V and
    b', which keeps their numbers near 1; the penalty stays on W, so the optimum is the same.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,), or float
        :math:`\mu` and :math:`\sigma`.
    """

    def __init__(self, center, scale):
        self.center = center
        self.scale = scale

    @classmethod
    def unscaled(cls):
        """Leave the features as they are."""
        return cls(0.0, 1.0)

    @property
    def is_trivial(self):
        """Whether the features are left as they are."""
        return isinstance(self.scale, float)

    @classmethod
    def of_rows(cls, blocks, *, center):
        """Take mean and standard deviation of each feature from dense row blocks.

        Without an intercept there is nothing to shift the mean into (``center=False``):
        then the scale is the root mean square.
        """
        # Moments about a point amid the data lose no digits to a large offset.
        origin = blocks.place(np.zeros(blocks.n_features, dtype=blocks.dtype))
        if center:
            first = blocks.take(slice(0, min(blocks.block_rows, blocks.n_rows))).X
            with np.errstate(over="ignore", invalid="ignore"):
                mean = _arrays.namespace(first).mean(first, axis=0)
            origin = _arrays.cast(mean, blocks.dtype)
        totals = blocks.accumulate(Moments(origin))
        first_moment, second_moment = (
            _arrays.to_numpy(total) / blocks.total_weight for total in totals
        )
        _refuse_overflow(second_moment, blocks.dtype)
        if not center:
            scale = _or_typical(np.sqrt(second_moment), 0.0)
            return cls(blocks.place(np.zeros(blocks.n_features)), blocks.place(scale))
        scale = np.sqrt(np.maximum(second_moment - first_moment**2, 0.0))
        mean = _arrays.to_numpy(origin) + first_moment
        # A constant column may show a standard deviation of rounding errors.
        scale = _or_typical(scale, 10 * np.finfo(blocks.dtype).eps * np.abs(mean))
        return cls(blocks.place(mean), blocks.place(scale))

    @classmethod
    def of_stored(cls, blocks):
        """Take the root mean square of each feature's non-zero values from sparse rows."""
        squares, counts = blocks.accumulate(StoredSquares(blocks.n_features))
        _refuse_overflow(squares, blocks.dtype)
        counts[counts == 0] = 1.0
        scale = _or_typical(np.sqrt(squares / counts), 0.0)
        return cls(blocks.place(np.zeros(blocks.n_features)), blocks.place(scale))

    def of_columns(self, columns):
        """Return the scaling of some features."""
        if self.is_trivial:
            return self
        return Scaling(self.center[columns], self.scale[columns])

    def to_raw(self, coef, intercept):
        """Return (W, b) for (V, b')."""
        if self.is_trivial:
            return coef, intercept
        coef = coef / self.scale
        return coef, intercept - coef @ self.center

    def from_raw(self, coef, intercept):
        """Return (V, b') for (W, b)."""
        if self.is_trivial:
            return coef, intercept
        return coef * self.scale, intercept + coef @ self.center

    def gradient(self, coef_gradient, intercept_gradient):
        """Return the derivative by V for the derivatives by W and b."""
        if self.is_trivial:
            return coef_gradient
        return (coef_gradient - intercept_gradient[:, None] * self.center) / self.scale


def _or_typical(scale, floor):
    """Replace scales that are not above a floor: in rows still to come they may be."""
    is_known = scale > floor
    return np.where(is_known, scale, np.median(scale[is_known]) if is_known.any() else 1.0)


def _refuse_overflow(squares, dtype):
    if not np.isfinite(squares).all():
        column = int(np.argmin(np.isfinite(squares)))
        raise ValueError(
            f"X holds values too large to be squared in {dtype}, in column {column}. "
            "Scale it, or pass it as float64."
        )
