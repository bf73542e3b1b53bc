r"""Penalised cross-entropy of a linear model, as a function of one vector of parameters.

.. math::
    f(W, b) = \frac{1}{S} \sum_i s_i \, \ell(W x_i + b, y_i)
              + \frac{\lambda_2}{2} \|W\|_2^2 + \lambda_1 \|W\|_1 , \qquad S = \sum_i s_i

with the cross-entropy :math:`\ell` of :mod:`sklearn_softmax.functional`, sample weights
:math:`s_i`, :math:`\lambda_2 = (1 - \rho) / (C S)` and :math:`\lambda_1 = \rho / (C S)` for
the ``l1_ratio`` :math:`\rho`. This is LogisticRegression's objective divided by
:math:`C S`. The solvers see the smooth part and :math:`\lambda_1`.

Shapes: W is class-major, (n_outputs, n_features), and a block of logits is
(n_classes, n_rows), which makes the softmax run along contiguous memory. Two classes have
one output, the log-odds of the second class; the first class has logit 0.
"""

import functools
from typing import Literal

import numpy as np

from .._arrays import native, portable
from .._rows.blocks import are_dense_in_memory
from .._rows.sums import (
    DualTerms,
    HessianDiagonal,
    Loss,
    LossGradient,
    MassRepair,
    Moments,
    StoredMoments,
    linear_logits,
    loss_residual,
)
from .scaled_rows import ScaledRows
from .scaling import Scaling, start_curvature

# From so many multiplications an evaluation on, compiled loops repay the half second that they
# take to load.
_COMPILED_WORK = 200_000_000
# With more parameters than this, W and its gradient outgrow a core's cache; BLAS minds that.
_COMPILED_PARAMETERS = 100_000
# Codes of the dtypes of X that they take: booleans, integers, float32 and float64.
_COMPILED_TYPES = "?bBhHiIlLqQfd"

# Means of features, in standard deviations, beyond which logits lose digits that matter.
_LARGEST_OFFSET_IN_FLOAT32, _LARGEST_OFFSET_IN_FLOAT64 = 1e3, 1e7
# From so many multiplications on, an evaluation in float32 saves more than the change to it costs.
_ROUGH_WORK = 5_000_000
# Means of features, in standard deviations, that leave float32 digits enough; and features whose
# squares are finite in it, as far as their scale tells.
_LARGEST_OFFSET, _LARGEST_ROUGH = 100.0, 1e12

# Parameters that stay in cache while several things are done to them.
_CHUNK = 1 << 15


class SoftmaxObjective:
    """Loss and gradient over row blocks, for parameters in a flat float64 vector.

    Parameters
    ----------
    blocks : RowBlocks
        The training rows.
    C, l1_ratio : float
        As for the estimator; ``C=np.inf`` is no penalty.
    fit_intercept : bool
        Whether there is an intercept b.
    label_smoothing : float
        Share of each target spread evenly over the classes.
    scaling : Scaling or None
        None takes it from the rows.
    penalty_weight : float or None
        The total weight S that the penalty is set against, where it is not that of ``blocks``.
    span : RowSpan or None
        Where ``blocks`` are components of other rows: what translates coefficients.
    """

    def __init__(
        self,
        blocks,
        *,
        C,
        l1_ratio=0.0,
        fit_intercept=True,
        label_smoothing=0.0,
        scaling=None,
        penalty_weight=None,
        span=None,
    ):
        self.blocks = blocks
        self._span = span
        self.fit_intercept = fit_intercept
        self.label_smoothing = label_smoothing
        self.n_classes = blocks.n_classes
        self.n_features = blocks.n_features
        self.n_outputs = n_outputs(blocks.n_classes)
        penalty_weight = penalty_weight or blocks.total_weight
        strength = 1.0 / (C * penalty_weight)
        self.l2 = (1.0 - l1_ratio) * strength
        self.l1 = l1_ratio * strength
        self._options = {
            "C": C,
            "l1_ratio": l1_ratio,
            "fit_intercept": fit_intercept,
            "label_smoothing": label_smoothing,
            "penalty_weight": penalty_weight,
        }
        self.scaling, self._origin = scaling, None
        if scaling is None:
            self.scaling = self._choose_scaling()
            self._keep_digits()
        self.epsilon = float(np.finfo(self.blocks.dtype).eps)
        # Sparse products read W feature by feature, dense ones class by class.
        self.order: Literal["C", "F"] = "F" if blocks.is_sparse else "C"

    def _choose_scaling(self):
        ridge = self.l2 / start_curvature(self.n_classes)
        of_rows = Scaling.of_sparse_rows if self.blocks.is_sparse else Scaling.of_rows
        return of_rows(self.blocks, center=self.fit_intercept, ridge=ridge)

    def _keep_digits(self):
        """Have rows computed so that features far from zero lose no digits that matter."""
        if self.scaling.is_trivial:
            return
        blocks, center = self.blocks, portable.to_numpy(self.scaling.center)
        offset = np.max(np.abs(center) / portable.to_numpy(self.scaling.scale))
        if blocks.dtype == np.float32 and offset > _LARGEST_OFFSET_IN_FLOAT32:
            self.blocks = blocks.recast(np.float64)
        if offset > _LARGEST_OFFSET_IN_FLOAT64 and not blocks.is_sparse:
            self.blocks, self._origin = self.blocks.recast(np.float64, center), center
            scale, square = self.scaling.scale, self.scaling.second_moment
            self.scaling = Scaling(blocks.place(np.zeros_like(center)), scale, square)

    def with_penalty(self, C, l1_ratio):
        """Return the objective of the same rows with another penalty."""
        strength = (1.0 - l1_ratio) / (C * self._options["penalty_weight"])
        scaling = self.scaling.with_ridge(strength / start_curvature(self.n_classes))
        return self._altered(self.blocks, scaling, C=C, l1_ratio=l1_ratio)

    def with_rows(self, blocks, mean_square):
        """Return the objective of the same rows with other weights, in the same scaled space.

        Parameters
        ----------
        blocks : RowBlocks
            As :meth:`RowBlocks.with_weight` of this one's makes them.
        mean_square : ndarray of shape (n_features,)
            What :meth:`mean_square` of such an objective says.
        """
        scaling = self.scaling
        if not scaling.is_trivial:
            scaling = Scaling(scaling.center, scaling.scale, mean_square / scaling.scale**2)
        return self._altered(blocks, scaling, penalty_weight=None)

    def _altered(self, blocks, scaling, **options):
        options = {**self._options, **options}
        other = type(self)(blocks, **options, scaling=scaling, span=self._span)
        other._origin = self._origin
        return other

    def carried(self, vector, other):
        """Return another objective's parameters in the scaled space of this one.

        The other is of the same rows: see :meth:`with_penalty`.
        """
        return self._scaled(*other.coefficients(vector))

    def in_float64(self):
        """Return the same objective with products in float64."""
        if self.blocks.dtype == np.float64:
            return self
        blocks = self.blocks.recast(np.float64)
        other = SoftmaxObjective(blocks, **self._options, scaling=self.scaling, span=self._span)
        other._origin = self._origin
        return other

    def rough(self):
        """Return the same objective with products in float32; None where that would not do.

        It would not where the work is too little to matter, and where float32 would lose in the
        mean of a feature what the rows differ by.
        """
        blocks = self.blocks
        if not are_dense_in_memory(blocks) or blocks.dtype == np.float32:
            return None
        if self.scaling.is_trivial or blocks.n_stored * self.n_outputs < _ROUGH_WORK:
            return None
        center, scale = np.abs(self.scaling.center), self.scaling.scale
        if np.max(center / scale) > _LARGEST_OFFSET or np.max(center + scale) > _LARGEST_ROUGH:
            return None
        return SoftmaxObjective(blocks.in_float32(), **self._options, scaling=self.scaling)

    def walk(self, order, step, carry):
        """Return ``step(objective, carry, order)``.

        Where the rows are in several places, of the objective of those at each of them, one
        after another; ``carry`` goes from one to the next.
        """
        if self.blocks.is_local:
            return step(self, carry, order)
        here = functools.partial(SoftmaxObjective, **self._options, scaling=self.scaling)
        return self.blocks.walk(order, functools.partial(_step_of_rows, here, step), carry)

    @functools.cached_property
    def rows(self):
        """The rows as the scaled parameters see them."""
        return ScaledRows(self)

    @property
    def uniform_loss(self):
        """The mean loss where all classes are equally probable."""
        return float(np.log(self.n_classes))

    # Parameters ------------------------------------------------------------------------

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
        """Return how large the terms are, at most, that cancel each other in an average logit."""
        center = self.scaling.center if self._origin is None else self._origin
        if self._span is not None:
            center = self._span.mean
        elif self.scaling.is_trivial:
            return 0.0
        center = portable.to_numpy(center)
        return float(np.max(np.abs(coef) @ np.abs(center)))

    def split(self, matrix):
        """Return the features' columns, and the intercept's (zeros if there is none)."""
        if self.fit_intercept:
            return matrix[:, :-1], matrix[:, -1]
        return matrix, portable.zeros((matrix.shape[0],), matrix)

    @functools.cached_property
    def penalty_columns(self):
        """Weights of absolute values and of half squares of each column's parameters."""
        l1, l2 = (portable.zeros((self.n_columns,), self.blocks.sample) for _ in range(2))
        l1[: self.n_features] = self.l1 / self.scaling.scale
        l2[: self.n_features] = self.l2 / self.scaling.scale**2
        return l1, l2

    @property
    def l1_weights(self):
        """Weights of the absolute values, as a flat vector."""
        shape = (self.n_outputs, self.n_columns)
        l1 = self.penalty_columns[0]
        return self.pack(portable.namespace(l1).broadcast_to(l1, shape))

    @property
    def l2_columns(self):
        """Weight of half the square of the parameters of each column, (n_columns,)."""
        return self.penalty_columns[1]

    @functools.cached_property
    def largest_curvature(self):
        r"""Bounds of the Hessian's diagonal for each column, whatever the parameters.

        :math:`p (1 - p) \le 1/4`, so it is at most a quarter of the mean of :math:`z^2`, and the
        penalty's. What no row has, and no penalty holds, counts as 1: there the gradient is 0.
        """
        square = self.scaling.second_moment
        if square is None:
            square = self.mean_square()
        bound = self.l2_columns + portable.zeros((self.n_columns,), self.blocks.sample)
        bound[: self.n_features] += 0.25 * square
        bound[self.n_features :] += 0.25
        return portable.namespace(bound).where(
            bound > 0, bound, portable.zeros(bound.shape, bound) + 1.0
        )

    @property
    def variance(self):
        """The variance of each feature, or its mean square, as the scaling knows it; or None."""
        if self.scaling.is_trivial or self._span is not None:
            return None
        return portable.to_numpy(self.scaling.second_moment * self.scaling.scale**2)

    def mean_square(self):
        """Return the mean square of each feature, less its centre, over the rows' weights."""
        return self.moments()[1]

    def moments(self):
        """Return the means of each feature, less its centre, and of the square of that."""
        blocks, center = self.blocks, np.zeros(self.n_features)
        if not self.scaling.is_trivial:
            center = portable.to_numpy(self.scaling.center)
        if blocks.is_sparse:
            share, mean, square = blocks.accumulate(StoredMoments(blocks.place(center)))
            rest = blocks.total_weight - share
            mean = mean - rest * blocks.place(center)
            square = square + rest * blocks.place(center) ** 2
        else:
            origin = blocks.place(center.astype(blocks.dtype))
            mean, square = blocks.accumulate(Moments(origin))
        return mean / blocks.total_weight, square / blocks.total_weight

    # Loss and derivatives --------------------------------------------------------------

    def loss_gradient(self, vector):
        """Return the smooth part of the objective and its gradient.

        Parameters
        ----------
        vector : ndarray of shape (n_outputs * n_columns,)
            Parameters in the scaled space.

        Returns
        -------
        loss : float
            Mean cross-entropy plus the L2 penalty.
        gradient : ndarray
            The derivative by ``vector``.
        """
        coef, intercept = self.coefficients(vector)
        loss, gradient = self.blocks.accumulate(self._sum(LossGradient, coef, intercept))
        penalty = self._average_and_penalise(gradient, coef)
        self._scale_gradient(gradient, self.scaling)
        return float(loss / self.blocks.total_weight + penalty), self.pack(gradient)

    def value_gradient(self, vector):
        """Return the whole objective, of both penalties, and the gradient of its smooth part."""
        loss, gradient = self.loss_gradient(vector)
        if self.l1:
            loss += float(self.l1_weights @ portable.namespace(vector).abs(vector))
        return loss, gradient

    @functools.cached_property
    def target_mean(self):
        """The mean of the targets, (n_classes,): a NumPy array."""
        blocks = self.blocks
        if blocks.is_local and blocks.is_numpy and blocks.has_labels:
            mass = np.bincount(blocks.y, weights=blocks.host_weight, minlength=self.n_classes)
            keep = 1.0 - self.label_smoothing
            return keep * mass / blocks.total_weight + self.label_smoothing / self.n_classes
        # Where all classes are equally probable, the intercepts' gradient is that less this.
        zero = portable.zeros((self.n_outputs * self.n_columns,), self.blocks.sample)
        _, gradient = self.loss_gradient(zero)
        excess = portable.to_numpy(self.unpack(gradient)[:, -1])
        mean = 1.0 / self.n_classes - excess
        return np.append(1.0 - mean, mean) if self.n_outputs == 1 else mean

    def dual_terms(self, vector, repair, share):
        """Return the mean entropy of dual probabilities, and the slope of the loss by W there.

        Parameters
        ----------
        vector : ndarray
            Parameters in the scaled space, which say what the probabilities are.
        repair : MassRepair or None
            What is done to them.
        share : float
            What share of the dual probabilities they are; the rest are the targets.
        """
        if repair is not None:
            repair = MassRepair(*(self.blocks.place(part) for part in (repair.kept, repair.given)))
        row_sum = self._sum(DualTerms, *self.coefficients(vector), repair=repair, share=share)
        entropy, gradient = self.blocks.accumulate(row_sum)
        slope, intercept = self.split(gradient)
        if not self.scaling.is_trivial:
            slope = slope - intercept[:, None] * self.scaling.center
        total_weight = self.blocks.total_weight
        return float(entropy) / total_weight, slope / total_weight

    def _average_and_penalise(self, gradient, coef):
        """Divide a sum over rows by their weight, and add the L2 penalty's; return the penalty."""
        if not self.blocks.is_numpy:
            gradient /= self.blocks.total_weight
            gradient[:, : self.n_features] += self.l2 * coef
            return 0.5 * self.l2 * _sum_of_squares(coef)
        gradient[:, self.n_features :] /= self.blocks.total_weight
        step = 1 + _CHUNK // self.n_outputs

        def run(start, stop):
            squares = 0.0
            for low in range(start, stop, step):
                columns = slice(low, min(low + step, stop))
                gradient[:, columns] /= self.blocks.total_weight
                gradient[:, columns] += self.l2 * coef[:, columns]
                squares += _sum_of_squares(coef[:, columns])
            return squares

        return 0.5 * self.l2 * sum(self.blocks.share(run, self.n_features, coef.size))

    def _sum(self, kind, coef, intercept, **options):
        """Return a sum of that kind over rows, taken at raw coefficients."""
        return kind(
            *self.cast(coef, intercept),
            fit_intercept=self.fit_intercept,
            order=self.order,
            label_smoothing=self.label_smoothing,
            is_compiled=self._has_compiled_loop and kind is LossGradient,
            is_centred=not self.scaling.is_trivial,
            **options,
        )

    @functools.cached_property
    def _has_compiled_loop(self):
        """Whether a block's loss and derivatives are summed in compiled code."""
        blocks = self.blocks
        if blocks.is_sparse or not blocks.has_labels or not blocks.is_numpy:
            return False
        if blocks.origin is not None:
            return False
        if blocks.stored_dtype.char not in _COMPILED_TYPES or not blocks.stored_dtype.isnative:
            return False
        work = blocks.n_stored * self.n_outputs
        is_small = self.n_outputs * self.n_features <= _COMPILED_PARAMETERS
        return work >= _COMPILED_WORK and is_small and native.compiled_loops().add_dense is not None

    @property
    def is_compiled(self):
        """Whether there is enough work for compiled code, and Numba to compile it."""
        return self._has_compiled_loop or self.blocks.sparse_share is not None

    def cast(self, coef, intercept) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients in the dtype and memory order of the blocks' products."""
        dtype = self.blocks.dtype
        return portable.cast(coef, dtype, self.order), portable.cast(intercept, dtype)

    def _scale_gradient(self, gradient, scaling):
        """Turn the derivative by (W, b), in place, into that by scaled parameters."""
        if not scaling.is_trivial:
            coef_gradient, intercept_gradient = self.split(gradient)
            coef_gradient[...] = scaling.gradient(coef_gradient, intercept_gradient)

    def batches(self, size, order):
        """Yield batches as :meth:`RowBlocks.batches` does, for :meth:`block_loss_gradient`."""
        batches = self.blocks.batches(size, order, is_compiled=self._has_compiled_loop)
        if self._batch_origin is None:
            return batches
        return (
            (batch._replace(X=batch.X - self._batch_origin), weight) for batch, weight in batches
        )

    @functools.cached_property
    def _batch_origin(self):
        """What is taken off the features of a batch; None where they are near enough to 0.

        In float32, features far from 0 lose in the logits the digits that they differ by.
        """
        blocks, scaling = self.blocks, self.scaling
        if blocks.is_sparse or blocks.dtype != np.float32 or not blocks.is_numpy:
            return None
        if scaling.is_trivial or np.max(np.abs(scaling.center) / scaling.scale) < _LARGEST_OFFSET:
            return None
        return scaling.center.astype(np.float32)

    @functools.cached_property
    def _batch_scaling(self):
        """The scaling of the features of a batch."""
        if self._batch_origin is None:
            return self.scaling
        return Scaling(self.scaling.center - self._batch_origin, self.scaling.scale)

    def block_loss_gradient(self, matrix, block, weight, columns=None):
        """Return the cross-entropy on one block and its gradient, without the penalty.

        Parameters
        ----------
        matrix : ndarray of shape (n_outputs, n_columns)
            Parameters in the scaled space.
        block : Block
            Some rows, as :meth:`batches` yields them.
        weight : float
            What to divide the sums over the block by.
        columns : ndarray of int or None
            Where the block is compact (see :meth:`compact`): the columns of all those
            parameters that ``matrix`` holds.

        Returns
        -------
        loss : array of shape ()
        gradient : ndarray
            The derivative by ``matrix``.
        """
        scaling = self._batch_scaling
        if columns is not None:
            scaling = scaling.of_columns(columns[: block.X.shape[1]])
        row_sum = self._sum(LossGradient, *scaling.to_raw(*self.split(matrix)))
        loss, gradient = totals = row_sum.zeros()
        row_sum.add(block, totals)
        gradient /= weight
        self._scale_gradient(gradient, scaling)
        return loss / weight, gradient

    def columns_of(self, block):
        """Return the columns of parameters that a sparse block needs."""
        columns = native.used_columns(block.X)
        return np.append(columns, self.n_features) if self.fit_intercept else columns

    def compact(self, block, columns):
        """Return a sparse block with the features of ``columns`` alone."""
        n_features = len(columns) - self.fit_intercept
        return block._replace(X=native.compact_columns(block.X, columns[:n_features]))

    def descend(self, matrix, block, weight, rate):
        """Change parameters by ``-rate`` times the gradient on a sparse block; return its loss.

        In place, and at the cost of the block's non-zeros; parameters as for
        :meth:`block_loss_gradient`, with all columns in ``matrix``.
        """
        coef, intercept = self.split(matrix)
        X = block.X
        if not self.scaling.is_trivial:
            X = native.divide_columns(X, self.scaling.scale)
        share = self.blocks.sparse_share
        logits = linear_logits(X, coef, intercept, share)
        loss, residual = loss_residual(logits, block, self.label_smoothing)
        residual = residual[-self.n_outputs :]
        residual *= -rate / weight
        native.add_matmul(coef, residual, X, share)
        intercept += residual.sum(axis=1)
        return float(loss) / weight

    def penalty(self, matrix):
        """Return the penalty of an (n_outputs, n_columns) matrix of parameters."""
        l1, l2 = self.penalty_columns
        xp = portable.namespace(matrix)
        penalty = 0.5 * float(xp.sum((matrix * matrix) @ l2))
        return penalty + float(xp.sum(xp.abs(matrix) @ l1)) if self.l1 else penalty

    def mean_loss(self, vector, index, weight):
        """Return the mean cross-entropy on the rows at ``index``, without penalty.

        Parameters
        ----------
        vector : ndarray
            Parameters in the scaled space.
        index : ndarray of int
            The rows; they are gathered block by block.
        weight : ndarray or None
            A weight for each of them.
        """
        (loss,) = self.blocks.accumulate_at(
            index, weight, self._sum(Loss, *self.coefficients(vector))
        )
        return float(loss) / (len(index) if weight is None else float(weight.sum()))

    def hessian_diagonal(self, vector):
        """Return the diagonal of the Hessian as an (n_outputs, n_columns) matrix, for sparse X."""
        scaling = self.scaling
        row_sum = self._sum(HessianDiagonal, *self.coefficients(vector))
        first, second, total = self.blocks.accumulate(row_sum)
        if not scaling.is_trivial:
            second += total[:, None] * scaling.center**2 - 2.0 * first * scaling.center
            second /= scaling.scale**2
        if self.fit_intercept:
            second = portable.namespace(second).concat([second, total[:, None]], axis=1)
        return second / self.blocks.total_weight + self.l2_columns


def _step_of_rows(objective, step, rows, carry, order):
    return step(objective(rows), carry, order)


def n_outputs(n_classes):
    """Return the number of rows of W: two classes need one."""
    return 1 if n_classes == 2 else n_classes


def _sum_of_squares(matrix):
    if not isinstance(matrix, np.ndarray):
        return portable.namespace(matrix).sum(matrix * matrix)
    # As it lies in memory: np.vdot would copy a matrix in Fortran order first.
    flat = matrix.ravel(order="K")
    return float(np.vdot(flat, flat))
