"""Centring and scaling of features in the space of the parameters."""

import numpy as np


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
        return np.ndim(self.scale) == 0

    @classmethod
    def of_rows(cls, block, *, center):
        """Take mean and standard deviation from a dense block of rows.

        Without an intercept there is nothing to shift the mean into (``center=False``):
        then the scale is the root mean square.
        """
        X = np.asarray(block.X, dtype=np.float64)
        mean = np.average(X, axis=0, weights=block.weight)
        if not center:
            mean = np.zeros_like(mean)
        scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=block.weight))
        # A constant column may show a standard deviation of rounding errors.
        floor = 10 * np.finfo(block.X.dtype).eps * np.abs(mean)
        return cls(mean, np.where(scale > floor, scale, 1.0))

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
        return (coef_gradient - np.outer(intercept_gradient, self.center)) / self.scale
