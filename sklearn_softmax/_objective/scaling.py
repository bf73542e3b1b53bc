"""Centring and scaling of features in the space of the parameters."""

import numpy as np

from .._arrays import portable
from .._rows.sums import Moments, StoredMoments, StoredSquares

# Moments about an origin are taken anew, about the mean, where it is so many standard deviations
# away: the difference of the two would lose twice as many digits.
_FAR_ORIGIN = 100.0
# Sparse features are scaled where the mean of one is so many standard deviations from zero, or the
# root mean square of what is stored of one so many times larger, or smaller, than 1.
_SPARSE_OFFSET, _SPARSE_SIZE = 30.0, 1e3
# Moments below this are taken anew in float64.
_LEAST_IN_FLOAT32 = 1e-30
# Entries of a sparse matrix that are counted at once.
_COUNTED = 1 << 16


def start_curvature(n_classes):
    """Return c, the curvature by a class's logit where all classes are equally probable."""
    return 0.25 if n_classes == 2 else 1.0 / n_classes


class Scaling:
    r"""Features centred and scaled in parameter space; X itself is never touched.

    With :math:`z = (x - \mu) / \sigma`, the same logits are :math:`V z + b'` for
    :math:`V = W \sigma` (column by column) and :math:`b' = b + W \mu`. Solvers work on V and
    b', which keeps their numbers near 1; the penalty stays on W, so the optimum is the same.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,), or float
        :math:`\mu` and :math:`\sigma`.
    second_moment : ndarray of shape (n_features,) or None
        The mean of :math:`z^2` for each feature, where it is known.
    """

    def __init__(self, center, scale, second_moment=None):
        self.center = center
        self.scale = scale
        self.second_moment = second_moment

    @classmethod
    def unscaled(cls):
        """Leave the features as they are."""
        return cls(0.0, 1.0)

    @property
    def is_trivial(self):
        """Whether the features are left as they are."""
        return isinstance(self.scale, float)

    @classmethod
    def of_rows(cls, blocks, *, center, ridge=0.0):
        r"""Take mean and standard deviation of each feature from dense row blocks.

        Without an intercept there is nothing to shift the mean into (``center=False``):
        then the scale is the root mean square.

        Parameters
        ----------
        blocks : RowBlocks
            The rows.
        center : bool
            Whether there is an intercept.
        ridge : float, default=0.0
            The penalty's curvature relative to the loss's, :math:`\lambda_2 / c`. The curvature
            of a coefficient is :math:`c \sigma^2 + \lambda_2`; with the scale
            :math:`\sqrt{\sigma^2 + \lambda_2 / c}` it is the same for all, also for those of
            features that hardly vary.
        """
        mean, variance = _dense_moments(blocks, center=center)
        return cls._of_moments(blocks, mean, variance, ridge)

    @classmethod
    def _of_moments(cls, blocks, mean, variance, ridge):
        scale = _or_typical(np.sqrt(variance + ridge))
        return cls(*(blocks.place(part) for part in (mean, scale, variance / scale**2)))

    def with_ridge(self, ridge):
        """Return the scaling of the same rows for another penalty; as :meth:`of_rows`."""
        if self.is_trivial:
            return self
        scale, variance = self.scale, self.second_moment * self.scale**2
        known = portable.to_numpy(variance)
        scale = portable.as_like(_or_typical(np.sqrt(known + ridge)), scale)
        return Scaling(self.center, scale, variance / scale**2)

    @classmethod
    def of_sparse_rows(cls, blocks, *, center, ridge):
        """Take the same from sparse row blocks, if they need it.

        Rows of text come with scales of their own, and are left as they are. But a feature that
        nearly all rows have may be far from zero in all of them. It is centred, in the parameters
        only, so that the rows stay sparse.
        """
        if blocks.is_local and not _may_need_scaling(blocks.X):
            return cls.unscaled()
        share, mean, square = _sparse_moments(blocks, np.zeros(blocks.n_features))
        is_far = mean**2 * (1 + _SPARSE_OFFSET**-2) > square
        size = np.sqrt(square / np.where(share > 0, share, 1.0))[square > 0]
        is_usual = (size <= _SPARSE_SIZE) & (size >= 1.0 / _SPARSE_SIZE)
        if is_usual.all() and not is_far[square > 0].any():
            return cls.unscaled()
        mean = np.where(2 * mean**2 > square, mean, 0.0) if center else np.zeros_like(mean)
        if center:
            share, _, square = _sparse_moments(blocks, mean)
            square = square + np.maximum(1.0 - share, 0.0) * mean**2
        return cls._of_moments(blocks, mean, square, ridge)

    @classmethod
    def of_stored(cls, blocks):
        """Take the root mean square of each feature's non-zero values from sparse rows."""
        squares, counts = blocks.accumulate(StoredSquares(blocks.n_features))
        _refuse_overflow(squares, blocks.dtype)
        counts[counts == 0] = 1.0
        scale = _or_typical(np.sqrt(squares / counts))
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


def far_features(blocks):
    """Return the positions of sparse features that are far from zero in nearly all rows."""
    if blocks.is_local and not _may_need_scaling(blocks.X):
        return np.arange(0)
    _, mean, square = _sparse_moments(blocks, np.zeros(blocks.n_features))
    is_far = mean**2 * (1 + _SPARSE_OFFSET**-2) > square
    return np.flatnonzero(is_far & (square - mean**2 > 1e-12 * square))  # (not if constant)


def _dense_moments(blocks, *, center):
    """Return mean and variance of each feature; without ``center`` zeros and the mean square."""
    origin = np.zeros(blocks.n_features, dtype=blocks.dtype)
    if center:
        # Moments about a point amid the data lose no digits to a large offset.
        first = blocks.take(slice(0, min(blocks.block_rows, blocks.n_rows))).X
        if first.shape[0]:
            with np.errstate(over="ignore", invalid="ignore"):
                first_mean = portable.namespace(first).mean(first, axis=0)
            origin = portable.to_numpy(portable.cast(first_mean, blocks.dtype))
    first_moment, second_moment = _moments_about(blocks, origin)
    if not center:
        return np.zeros(blocks.n_features), second_moment
    variance = second_moment - first_moment**2
    if np.any(first_moment**2 > _FAR_ORIGIN**2 * variance):
        origin = (origin + first_moment).astype(blocks.dtype)
        first_moment, second_moment = _moments_about(blocks, origin)
        variance = second_moment - first_moment**2
    mean = origin + first_moment
    # What a constant column seems to vary by are rounding errors.
    rounding = 10 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(variance > rounding**2, variance, 0.0)


def _moments_about(blocks, origin):
    """Return the first and second moments of each feature about an origin."""
    first, second = _means(blocks, Moments(blocks.place(origin)))
    _refuse_overflow(second, blocks.dtype)
    lost = np.flatnonzero(second < _LEAST_IN_FLOAT32)
    if blocks.dtype == np.float32 and len(lost):
        # Squares of numbers below 1e-19 are lost in float32, though they are not themselves.
        if blocks.is_numpy:
            precise = Moments(origin[lost].astype(np.float64), lost)
            first[lost], second[lost] = _means(blocks, precise)
        else:
            first, second = _means(blocks.recast(np.float64), Moments(blocks.place(origin)))
    return first, second


def _means(blocks, row_sum):
    return (portable.to_numpy(total) / blocks.total_weight for total in blocks.accumulate(row_sum))


def _may_need_scaling(X):
    """Return whether a feature of a sparse matrix may be large, small, or far from zero."""
    n_stored, n_features = X.data.shape[0], X.shape[1]
    if not n_stored:
        return False
    xp = portable.namespace(X.data)
    counts, step = 0, max(_COUNTED, n_features)
    for start in range(0, n_stored, step):  # (copies are made of what is looked at)
        part = slice(start, start + step)
        sizes = xp.abs(X.data[part])
        if float(xp.max(sizes)) > _SPARSE_SIZE:
            return True
        if float(xp.min(xp.where(sizes == 0, _SPARSE_SIZE, sizes))) < 1.0 / _SPARSE_SIZE:
            return True
        counts += xp.bincount(X.indices[part], minlength=n_features)
    return int(xp.max(counts)) > (1 - 2 * _SPARSE_OFFSET**-2) * X.shape[0]


def _sparse_moments(blocks, origin):
    """Return the share of the weight where a feature is stored, and there its moments."""
    totals = blocks.accumulate(StoredMoments(blocks.place(origin)))
    share, first, second = (portable.to_numpy(total) / blocks.total_weight for total in totals)
    _refuse_overflow(second, blocks.dtype)
    return share, first, second


def _or_typical(scale):
    """Replace scales of 0: in rows still to come they may be larger."""
    is_known = scale > 0
    return np.where(is_known, scale, np.median(scale[is_known]) if is_known.any() else 1.0)


def _refuse_overflow(squares, dtype):
    if not np.isfinite(squares).all():
        column = int(np.argmin(np.isfinite(squares)))
        raise ValueError(
            f"X holds values too large to be squared in {dtype}, in column {column}. "
            "Scale it, or pass it as float64."
        )
