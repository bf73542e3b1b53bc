"""What a stream has shown of its features so far.

The first rows of a stream may be few, or unlike those to come. So scales, metric and learning rate
are taken from running moments, and taken anew as rows come in. All arrays here are NumPy arrays,
wherever the rows are. They are as large as the parameters of a class, or as the metric. No row is
kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import native, portable
from .._objective.scaling import Scaling, _or_typical, _refuse_overflow
from .._rows.sums import Moments, StoredSquares

# The past weighs no more than so many rows, so that a feature that has changed is noticed.
_MEMORY_ROWS = 32_768
# Rows that the products of features are taken from.
PRODUCT_ROWS = 8192


@dataclass(frozen=True, eq=False)
class _FeatureTotals:
    """The weighted sums of features and of their squares, and of how many are not zero.

    And, last, the sum of the squares of the weights themselves. The features are taken about an
    origin, which is 0 for sparse rows; non-zero entries of dense rows are counted only if asked
    for.
    """

    origin: Any
    is_sparse: bool
    has_counts: bool
    is_compiled = False
    block_rows = 4096  # (as for StoredSquares)

    def zeros(self):
        """Return totals to be added to."""
        n_features = self.origin.shape[0]
        sizes = n_features, n_features, n_features, 1
        if self.is_sparse:
            return tuple(np.zeros(size) for size in sizes)
        return tuple(portable.zeros((size,), self.origin) for size in sizes)

    def add(self, block, totals, share=None):
        """Add a block's."""
        first, second, count, squared_weight = totals
        X, weight = block.X, block.row_weights
        squared_weight += portable.to_numpy(weight @ weight) if self.is_sparse else weight @ weight
        if not self.is_sparse:
            Moments(self.origin).add(block, (first, second))
            if self.has_counts:
                weight = portable.cast(weight, portable.dtype_of(X))
                count += weight @ portable.cast(X != 0, portable.dtype_of(X))
            return
        StoredSquares(X.shape[1]).add(block, (second, count))
        first += portable.to_numpy(X.T @ weight)


@dataclass
class _Spread:
    """A weighted mean, and the sum of squares (or of products) about it."""

    weight: float
    mean: np.ndarray
    scatter: np.ndarray

    def merged(self, other):
        """Return that of these rows and others together (Chan, Golub, LeVeque 1983)."""
        weight = self.weight + other.weight
        between = other.mean - self.mean
        apart = np.outer(between, between) if self.scatter.ndim == 2 else between**2
        scatter = self.scatter + other.scatter + apart * (self.weight * other.weight / weight)
        return _Spread(weight, self.mean + between * (other.weight / weight), scatter)

    def faded(self, share):
        """Return the same with a share of its weight."""
        return _Spread(share * self.weight, self.mean, share * self.scatter)


@dataclass
class RunningRows:
    """Moments of the features of a stream.

    Attributes
    ----------
    is_sparse : bool
        Whether the stream began with sparse rows: features are scaled by what is stored of them,
        and not centred. Later chunks, sparse or dense, are then seen in the same way.
    rows : float
        How many rows the moments stand for.
    squared_weight : float
        The sum of the squares of their weights.
    spread : _Spread or None
        Of each feature.
    counts : ndarray of shape (n_features,)
        The weight of the rows in which a feature is not zero; for sparse streams.
    products : _Spread or None
        Of pairs of features; for dense streams of few features.
    product_rows : float
        How many equal rows those are worth.
    curvature : float
        A mean of the largest curvature of the chunks, each by itself; an upper bound, in
        expectation, of that of all rows.
    """

    is_sparse: bool
    rows: float = 0.0
    squared_weight: float = 0.0
    spread: Any = None
    counts: Any = 0.0
    products: Any = None
    product_rows: float = 0.0
    curvature: float = 0.0

    @classmethod
    def of_fit(cls, scaling, n_rows, weight, *, is_sparse, moment=None, moment_rows=0.0):
        """Return what a scaling stands for, of so many rows; ``moment`` is that of scaled rows."""
        scatter = scaling.scale**2
        spread = _Spread(weight, scaling.center, weight * scatter)
        counts = np.full(len(scatter), weight)
        running = cls(is_sparse, n_rows, weight**2 / n_rows, spread, counts)
        if moment is not None:
            n_features = len(scatter)
            scatter = moment[:n_features, :n_features] * np.outer(scaling.scale, scaling.scale)
            running.products = _Spread(weight, scaling.center, weight * scatter)
            running.product_rows = moment_rows
            # What was constant has the scale of others, and no spread of its own.
            spread.scatter = np.where(np.diag(scatter) > 0, spread.scatter, 0.0)
        return running

    def add(self, blocks, index, *, has_products):
        """Take note of rows, those at ``index`` first where not all of them are needed."""
        share = min(1.0, _MEMORY_ROWS / max(self.rows, 1.0))
        spread, counts, squared_weight = self._spread_of(blocks)
        if self.spread is not None:
            spread = self.spread.faded(share).merged(spread)
            counts = share * self.counts + counts
        self.spread, self.counts = spread, counts
        self.rows = share * self.rows + blocks.n_weighted
        # (A share of the rows, or the whole of them with less weight: the same on average.)
        self.squared_weight = share * self.squared_weight + squared_weight
        if has_products and not self.is_sparse and self.product_rows < PRODUCT_ROWS:
            n_rows = max(1, int(PRODUCT_ROWS - self.product_rows))
            self._add_products(blocks.take(index[:n_rows]), blocks)

    @property
    def equality(self):
        """How many equal rows are worth one of these, on average: 1 where weights are equal."""
        return self.spread.weight**2 / (self.rows * self.squared_weight)

    def _spread_of(self, blocks):
        origin = blocks.place(np.zeros(blocks.n_features, dtype=blocks.dtype))
        if not blocks.is_sparse:
            # Moments about a row amid the data lose no digits to a large offset.
            first = blocks.take(slice(0, min(blocks.block_rows, blocks.n_rows)))
            mean = _weighted_mean(first)
            origin = portable.cast(mean, blocks.dtype)
        totals = blocks.accumulate(_FeatureTotals(origin, blocks.is_sparse, self.is_sparse))
        first, second, counts, squared_weight = (portable.to_numpy(total) for total in totals)
        _refuse_overflow(second, blocks.dtype)
        weight = blocks.total_weight
        mean = portable.to_numpy(origin).astype(float) + first / weight
        scatter = np.maximum(second - first**2 / weight, 0.0)
        # A constant column may show a spread of rounding errors.
        floor = 10 * np.finfo(blocks.dtype).eps * np.abs(mean)
        scatter[scatter <= weight * floor**2] = 0.0
        return _Spread(weight, mean, scatter), counts, float(squared_weight[0])

    def _add_products(self, block, blocks):
        rows = portable.cast(native.as_dense(block.X), np.float64)
        xp = portable.namespace(rows)
        weight = block.row_weights
        total = float(xp.sum(weight))
        mean = (weight @ rows) / total
        rows = rows - mean
        scatter = portable.to_numpy(rows.T @ (rows * weight[:, None]))
        products = _Spread(total, portable.to_numpy(mean), scatter)
        self.products = products if self.products is None else self.products.merged(products)
        self.product_rows += total**2 / float(xp.sum(weight**2))

    def scaling(self, *, center):
        """Return how the features are to be centred and scaled."""
        spread = self.spread
        if self.is_sparse:
            count = np.where(self.counts > 0, self.counts, 1.0)
            scale = _or_typical(np.sqrt(self._squares / count))
            return Scaling(np.zeros(len(scale)), scale)
        if not center:
            scale = _or_typical(np.sqrt(self._squares / spread.weight))
            return Scaling(np.zeros(len(scale)), scale)
        return Scaling(spread.mean, _or_typical(np.sqrt(spread.scatter / spread.weight)))

    @property
    def _squares(self):
        return self.spread.scatter + self.spread.weight * self.spread.mean**2

    def has_left(self, scaling, factor, *, center):
        """Return whether a feature's scale or mean is far from that of a scaling."""
        now = self.scaling(center=center)
        is_known = self.spread.scatter > 0 if center and not self.is_sparse else self._squares > 0
        ratio = now.scale / scaling.scale
        is_far = is_known & ((ratio > factor) | (ratio < 1 / factor))
        return bool((is_far | (np.abs(now.center - scaling.center) > factor * scaling.scale)).any())

    def mean_squares(self, scaling):
        """Return the mean square of each scaled feature."""
        about = self.spread.scatter / self.spread.weight + (self.spread.mean - scaling.center) ** 2
        return about / scaling.scale**2

    def second_moment(self, scaling, *, fit_intercept):
        """Return E[z z'] of scaled rows, a 1 in each for the intercept; None if it is not known."""
        if self.products is None:
            return None
        n_features = len(scaling.scale)
        moment = np.eye(n_features + fit_intercept)
        shift = (self.products.mean - scaling.center) / scaling.scale
        scale = np.outer(scaling.scale, scaling.scale)
        inner = self.products.scatter / (self.products.weight * scale)
        moment[:n_features, :n_features] = inner + np.outer(shift, shift)
        if fit_intercept:
            moment[-1, :-1] = moment[:-1, -1] = shift
        return moment


def _weighted_mean(block):
    """Return the mean of the rows of positive weight of a dense block."""
    weight = portable.cast(block.row_weights, portable.dtype_of(block.X))
    xp = portable.namespace(block.X)
    total = float(xp.sum(weight))
    with np.errstate(over="ignore", invalid="ignore"):  # the totals show it
        return (weight @ block.X) / total if total > 0 else xp.mean(block.X, axis=0)
