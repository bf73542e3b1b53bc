"""Sums over rows: what one block of them adds to the totals.

A sum is a plain value. It holds the parameters that it is taken at, but no rows and no threads. So
it can be sent to where the rows are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import native, portable
from ..functional import _cross_entropy, cross_entropy_loss_gradient, entropy, softmax

# Centred rows that are in cache while their moments are taken (bytes).
_CENTRED_BYTES = 1 << 19
# From this probability p on, 1 - p has lost digits.
_SURE = 0.99
# Rows of which dual probabilities are in memory at once.
_DUAL_ROWS = 1024


@dataclass(frozen=True, eq=False)
class _LinearSum:
    """What sums of a linear model share.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
        W, in the dtype of the blocks.
    intercept : ndarray of shape (n_outputs,)
        b.
    fit_intercept : bool
        Whether the totals have a last column for it.
    order : {"C", "F"}
        Memory order of the totals.
    label_smoothing : float
        Share of each target spread evenly over the classes.
    is_compiled : bool
        Whether dense blocks are for compiled code, as they are stored.
    is_centred : bool
        Whether the features are centred in the parameters.
    """

    coef: Any
    intercept: Any
    fit_intercept: bool = True
    order: Any = "C"
    label_smoothing: float = 0.0
    is_compiled: bool = False
    is_centred: bool = False
    block_rows = None

    def zeros(self):
        """Return totals to be added to: a number, and a matrix in the shape of (W, b)."""
        n_outputs, n_features = self.coef.shape
        shape = n_outputs, n_features + self.fit_intercept
        return portable.zeros((), self.coef), portable.zeros(shape, self.coef, self.order)


class LossGradient(_LinearSum):
    """The weighted sum of the cross-entropy, and its derivatives by (W, b)."""

    def add(self, block, totals, share=None):
        """Add what a block contributes; ``share`` as for :func:`.native.add_matmul`."""
        loss, gradient = totals
        coef_gradient, intercept_gradient = split(gradient, self.fit_intercept)
        if self.is_compiled:
            loop = native.compiled_loops().add_dense
            if intercept_gradient is None:
                intercept_gradient = np.zeros(len(coef_gradient))
            derivatives = coef_gradient, intercept_gradient
            loss += loop(*block, self.label_smoothing, self.coef, self.intercept, *derivatives)
            return
        with np.errstate(over="ignore", invalid="ignore"):  # the solvers check it
            fused = native.fused_softmax(block.X, block.y)
            if fused is not None and self.coef.shape[0] > 1:
                logits = native.matmul_transposed(self.coef, block.X)
                rest = self.intercept, block.y, block.weight, self.label_smoothing
                block_loss, residual = fused(logits, *rest)
            else:
                logits = linear_logits(block.X, self.coef, self.intercept, share)
                block_loss, residual = loss_residual(logits, block, self.label_smoothing)
            loss += block_loss
            residual = residual[-self.coef.shape[0] :, :]
            native.add_matmul(coef_gradient, residual, block.X, share)
            if self.fit_intercept:
                intercept_gradient += portable.namespace(residual).sum(residual, axis=1)


class Loss(_LinearSum):
    """The weighted sum of the cross-entropy alone."""

    def zeros(self):
        """Return a total to be added to."""
        return (portable.zeros((), self.coef),)

    def add(self, block, totals, share=None):
        """Add what a block contributes."""
        (loss,) = totals
        options = {"sample_weight": block.weight, "axis": 0, "reduction": "sum"}
        with np.errstate(over="ignore", invalid="ignore"):  # it shows in the loss
            logits = linear_logits(block.X, self.coef, self.intercept, share)
            # (Which does not look whether the logits are probabilities.)
            loss += _cross_entropy(logits, block.y, **options)


@dataclass(frozen=True, eq=False)
class MassRepair:
    """Takes probability from classes that have too much of it, and gives it to the others.

    Attributes
    ----------
    kept : ndarray of shape (n_classes,)
        What share of its probability a class keeps in every row.
    given : ndarray of shape (n_classes,)
        What share it receives of the probability that the others lose.
    """

    kept: Any
    given: Any

    @classmethod
    def of(cls, target_mean, excess):
        """Return what makes up for the excess of the mean probabilities over the targets'.

        Both are of shape (n_classes,); of two classes the second's excess alone will do.
        """
        if len(excess) == 1:
            excess = np.append(-excess, excess)
        mean = target_mean + excess
        kept = np.where(excess > 0, target_mean / np.where(mean > 0, mean, 1.0), 1.0)
        missing = np.maximum(-excess, 0.0)
        return cls(kept, missing / max(missing.sum(), np.finfo(float).tiny))

    def apply(self, proba):
        """Return repaired class-major probabilities."""
        kept = proba * self.kept[:, None]
        freed = portable.namespace(proba).sum(proba - kept, axis=0)
        return kept + self.given[:, None] * freed


@dataclass(frozen=True, eq=False)
class DualTerms(_LinearSum):
    """The weighted sums of the entropy of dual probabilities, and of their residuals times x.

    See :mod:`sklearn_softmax._objective.duality_gap`: the dual probabilities are ``share`` times
    the model's, repaired, and the rest the targets.
    """

    repair: MassRepair | None = None
    share: float = 1.0

    def add(self, block, totals, share=None):
        """Add what a block contributes."""
        total_entropy, gradient = totals
        coef_gradient, intercept_gradient = split(gradient, self.fit_intercept)
        logits = linear_logits(block.X, self.coef, self.intercept, share)
        weight = block.row_weights
        n_rows = logits.shape[1]
        for start in range(0, n_rows, _DUAL_ROWS):
            part = slice(start, min(start + _DUAL_ROWS, n_rows))
            proba = softmax(portable.cast(logits[:, part], np.float64), axis=0)
            target = smoothed_targets(block.y[..., part], proba, self.label_smoothing)
            entropies, residual = dual_rows(proba, target, self.repair, self.share)
            total_entropy += portable.namespace(entropies).sum(entropies * weight[part])
            logits[:, part] = portable.cast(residual * weight[part], portable.dtype_of(logits))
        residual = logits[-self.coef.shape[0] :, :]
        native.add_matmul(coef_gradient, residual, block.X, share)
        if self.fit_intercept:
            intercept_gradient += portable.namespace(residual).sum(residual, axis=1)


def dual_rows(proba, target, repair, share):
    """Return the entropy of each row's dual probabilities, and their difference from the target."""
    residual = (proba if repair is None else repair.apply(proba)) - target
    residual = share * residual
    return entropy(portable.at_least(target + residual, 0.0), axis=0), residual


def smoothed_targets(y, like, label_smoothing):
    """Return targets as class-major probabilities, in the shape of the array ``like``."""
    if y.ndim == 1:
        xp = portable.namespace(like)
        target = xp.zeros_like(like)
        target = native.add_at_labels(target, y, 1.0, axis=0, xp=xp)
    else:
        target = portable.cast(y, np.float64)
    return (1.0 - label_smoothing) * target + label_smoothing / like.shape[0]


class HessianDiagonal(_LinearSum):
    """The weighted sums of p (1 - p) x, p (1 - p) x**2 and p (1 - p), for sparse rows."""

    def zeros(self):
        """Return totals to be added to."""
        n_outputs = self.coef.shape[0]
        first, second = (portable.zeros(self.coef.shape, self.coef, self.order) for _ in range(2))
        return first, second, portable.zeros((n_outputs,), self.coef)

    def add(self, block, totals, share=None):
        """Add what a block contributes."""
        proba = softmax(linear_logits(block.X, self.coef, self.intercept, share), axis=0)
        variance = spread(proba)[-self.coef.shape[0] :, :]
        if block.weight is not None:
            variance *= portable.cast(block.weight, portable.dtype_of(variance))
        first, second, total = totals
        if self.is_centred:
            native.add_matmul(first, variance, block.X, share)
        native.add_matmul(second, variance, native.square(block.X), share)
        total += portable.namespace(variance).sum(variance, axis=1)


@dataclass(frozen=True, eq=False)
class Moments:
    """The weighted sums of dense features, and of their squares, about an origin.

    With ``columns`` those of these alone, in float64; the origin has theirs, too.
    """

    origin: Any
    columns: Any = None
    is_compiled = False
    block_rows = None

    def zeros(self):
        """Return totals to be added to."""
        return portable.zeros(self.origin.shape, self.origin), portable.zeros(
            self.origin.shape, self.origin
        )

    def add(self, block, totals, share=None):
        """Add what a block contributes."""
        X = block.X
        if self.columns is not None:
            X = X[:, self.columns].astype(np.float64)
        weight = portable.cast(block.row_weights, portable.dtype_of(X))
        with np.errstate(over="ignore", invalid="ignore"):  # it shows in the totals
            for part, rows in _centred(X, self.origin):
                totals[0][...] += weight[part] @ rows
                rows *= rows
                totals[1][...] += weight[part] @ rows


@dataclass(frozen=True, eq=False)
class StoredMoments:
    """The weight of the rows where a sparse feature is stored, and its moments there."""

    origin: Any
    is_compiled = False
    block_rows = 4096  # (several temporary arrays are as large as a block's stored values)

    def zeros(self):
        """Return totals to be added to."""
        return tuple(portable.zeros(self.origin.shape, self.origin) for _ in range(3))

    def add(self, block, totals, share=None):
        """Add what a block contributes."""
        X, weight = block.X, block.row_weights
        with np.errstate(over="ignore", invalid="ignore"):  # it shows in the totals
            values = portable.cast(X.data, np.float64) - self.origin[X.indices]
            ones = portable.namespace(values).ones_like(values)
            for total, data in zip(totals, (ones, values, values * values), strict=True):
                total += native.with_values(X, data).T @ weight


@dataclass(frozen=True, eq=False)
class StoredSquares:
    """The weighted sums of the squares of sparse features, and of how many are not zero."""

    n_features: int
    is_compiled = False
    block_rows = 4096  # (several temporary arrays are as large as a block's stored values)

    def zeros(self):
        """Return totals to be added to."""
        return np.zeros(self.n_features), np.zeros(self.n_features)

    def add(self, block, totals, share=None):
        """Add what a block contributes."""
        X, weight = block.X, block.row_weights
        with np.errstate(over="ignore", invalid="ignore"):  # it shows in the totals
            for total, data in zip(totals, (X.data**2.0, X.data != 0), strict=True):
                values = native.with_values(X, portable.cast(data, np.float64))
                total += portable.to_numpy(values.T @ weight)


@dataclass(frozen=True, eq=False)
class SquaredNorm:
    """The squared norm of each row, centred and scaled."""

    center: Any
    scale: Any
    is_trivial: bool

    def of(self, block):
        """Return the squared norms of a block's rows, (n_rows,): a NumPy array, in float64."""
        X, dtype = block.X, portable.dtype_of(block.X)
        norms = np.empty(X.shape[0])
        if self.is_trivial:
            ones = portable.as_like(np.ones((1, X.shape[1]), dtype=dtype), X)
            squares = native.matmul_transposed(ones, native.square(X))
            norms[:] = portable.to_numpy(squares[0, :])
            return norms
        if hasattr(X, "indptr"):
            return self._of_sparse(X)
        by_square = portable.cast(1.0 / self.scale**2, dtype)
        for part, rows in _centred(X, portable.cast(self.center, dtype)):
            rows *= rows
            norms[part] = portable.to_numpy(rows @ by_square)
        return norms

    def _of_sparse(self, X):
        """Return those of sparse rows: the center's, corrected where a value is stored."""
        center, scale = self.center / self.scale, self.scale
        values = X.data / scale[X.indices] - center[X.indices]
        stored = native.with_values(X, values * values - center[X.indices] ** 2)
        norms = stored @ portable.namespace(scale).ones_like(scale) + center @ center
        return np.maximum(portable.to_numpy(norms), 0.0)


@dataclass(frozen=True, eq=False)
class LogitRange:
    """How far the logits of each row are apart."""

    coef: Any
    intercept: Any

    def of(self, block):
        """Return those of a block's rows, (n_rows,)."""
        return np.ptp(linear_logits(block.X, self.coef, self.intercept), axis=0)


def _centred(X, center):
    """Yield slices of dense rows, with those rows less their center in scratch space."""
    if portable.is_foreign(X):
        yield slice(0, X.shape[0]), X - center
        return
    step = 1 + _CENTRED_BYTES // (X.itemsize * len(center))
    scratch = np.empty((min(step, len(X)), len(center)), dtype=X.dtype)
    for start in range(0, len(X), step):
        rows = X[start : start + step]
        part = slice(start, start + len(rows))
        yield part, np.subtract(rows, center, out=scratch[: len(rows)])


def spread(proba):
    """Return p (1 - p) for class-major probabilities, exact to rounding even where p is near 1."""
    return proba * complement(proba)


def complement(proba):
    """Return 1 - p for class-major probabilities, exact to rounding even where p is near 1.

    There the difference would lose its digits. It is the sum of all other probabilities.
    """
    xp = portable.namespace(proba)
    largest = xp.max(proba, axis=0)
    if isinstance(proba, np.ndarray):  # (the portable way takes all rows, but few are sure)
        rest = 1.0 - proba
        sure = np.flatnonzero(largest > _SURE)
        others, columns = proba[:, sure], np.arange(len(sure))
        top = others.argmax(axis=0)
        others[top, columns] = 0.0
        rest[top, sure] = others.sum(axis=0)
        return rest
    is_top = (proba == largest) & (largest > _SURE)
    zero = xp.zeros_like(proba)
    others = xp.sum(xp.where(is_top, zero, proba), axis=0)
    return xp.where(is_top, others + zero, 1.0 - proba)


def linear_logits(X, coef, intercept, share=None):
    """Return the logits W x + b of a block of rows, (n_classes, n_rows).

    ``share`` as for :func:`sklearn_softmax._arrays.native.matmul_transposed`.
    """
    logits = native.matmul_transposed(coef, X, share)
    logits += intercept[:, None]
    return with_reference(logits)


def with_reference(logits):
    """Give a single output the first class's logit, which is 0."""
    if logits.shape[0] > 1:
        return logits
    xp = portable.namespace(logits)
    return xp.concat([xp.zeros_like(logits), logits], axis=0)


def split(matrix, fit_intercept):
    """Return the columns of the features, and that of the intercept (None if there is none)."""
    return (matrix[:, :-1], matrix[:, -1]) if fit_intercept else (matrix, None)


def loss_residual(logits, block, label_smoothing):
    """Return a block's sum of losses, and their derivative by the logits, written over these."""
    return cross_entropy_loss_gradient(
        logits,
        block.y,
        sample_weight=block.weight,
        label_smoothing=label_smoothing,
        axis=0,
        reduction="sum",
        overwrite_logits=True,
    )
