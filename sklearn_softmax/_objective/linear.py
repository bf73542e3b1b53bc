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

import numpy as np

from .._arrays import native, portable
from .._rows.blocks import are_dense_in_memory
from .._rows.sums import (
    DualTerms,
    HessianDiagonal,
    LogitRange,
    Loss,
    LossGradient,
    MassRepair,
    Moments,
    StoredMoments,
)
from .penalty import PenalisedParameters, penalty_strengths
from .precision import bears_float32, keep_digits
from .scaled_rows import ScaledRows
from .scaling import Scaling, start_curvature

# From so many multiplications an evaluation on, compiled loops repay the half second that they
# take to load.
_COMPILED_WORK = 200_000_000
# With more parameters than this, W and its gradient outgrow a core's cache, and BLAS is faster.
_COMPILED_PARAMETERS = 100_000
# Codes of the dtypes of X that compiled loops take: booleans, integers, float32 and float64.
_COMPILED_TYPES = "?bBhHiIlLqQfd"
# From so many multiplications on, an evaluation in float32 saves more than the change to it costs.
_ROUGH_WORK = 5_000_000
# Parameters that stay in cache while several things are done to them.
_CHUNK = 1 << 15


class SoftmaxObjective(PenalisedParameters):
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
        None takes it, and the origin, from the rows.
    penalty_weight : float or None
        The total weight S that the penalty is set against, where it is not that of ``blocks``.
    span : RowSpan or None
        Translates coefficients where ``blocks`` are principal components of other rows.
    origin : ndarray of shape (n_features,) or None
        What ``blocks`` subtract from their rows.
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
        origin=None,
    ):
        penalty_weight = penalty_weight or blocks.total_weight
        l1, l2 = penalty_strengths(C, l1_ratio, penalty_weight)
        if scaling is None:
            scaling = _scaling_of(blocks, center=fit_intercept, l2=l2)
            blocks, scaling, origin = keep_digits(blocks, scaling)
        super().__init__(
            blocks,
            l1=l1,
            l2=l2,
            fit_intercept=fit_intercept,
            scaling=scaling,
            origin=origin,
            span=span,
        )
        self.label_smoothing = label_smoothing
        self.epsilon = float(np.finfo(blocks.dtype).eps)
        self._options = {
            "C": C,
            "l1_ratio": l1_ratio,
            "fit_intercept": fit_intercept,
            "label_smoothing": label_smoothing,
            "penalty_weight": penalty_weight,
            "scaling": scaling,
            "span": span,
            "origin": origin,
        }

    # Other forms of the same objective -------------------------------------------------

    def with_penalty(self, C, l1_ratio):
        """Return the objective of the same rows with another penalty."""
        _, l2 = penalty_strengths(C, l1_ratio, self._options["penalty_weight"])
        scaling = self.scaling.with_ridge(_ridge(l2, self.n_classes))
        options = {**self._options, "C": C, "l1_ratio": l1_ratio, "scaling": scaling}
        return type(self)(self.blocks, **options)

    def in_float64(self):
        """Return the same objective with products in float64."""
        if self.blocks.dtype == np.float64:
            return self
        return SoftmaxObjective(self.blocks.recast(np.float64), **self._options)

    def rough(self):
        """Return the same objective with products in float32; None where that does not pay.

        It does not pay where there is little work. Nor does it where the mean of a feature would
        leave float32 no digits for what the rows differ by.
        """
        blocks = self.blocks
        if not are_dense_in_memory(blocks) or blocks.dtype == np.float32:
            return None
        if blocks.n_stored * self.n_outputs < _ROUGH_WORK or not bears_float32(self.scaling):
            return None
        return SoftmaxObjective(blocks.in_float32(), **self._options)

    @functools.cached_property
    def rows(self):
        """The rows as the scaled parameters see them."""
        return ScaledRows(self)

    @property
    def uniform_loss(self):
        """The mean loss where all classes are equally probable."""
        return float(np.log(self.n_classes))

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

    def _scale_gradient(self, gradient, scaling):
        """Turn the derivative by (W, b), in place, into that by scaled parameters."""
        if not scaling.is_trivial:
            coef_gradient, intercept_gradient = self.split(gradient)
            coef_gradient[...] = scaling.gradient(coef_gradient, intercept_gradient)

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

    @functools.cached_property
    def largest_curvature(self):
        r"""Bounds of the Hessian's diagonal for each column, whatever the parameters.

        :math:`p (1 - p) \le 1/4`, so it is at most a quarter of the mean of :math:`z^2`, and the
        penalty's. What no row has, and no penalty holds, counts as 1: there the gradient is 0.
        """
        square = self.scaling.second_moment
        if square is None:
            square = self._second_moment()
        bound = self.l2_columns + portable.zeros((self.n_columns,), self.blocks.sample)
        bound[: self.n_features] += 0.25 * square
        bound[self.n_features :] += 0.25
        return portable.namespace(bound).where(
            bound > 0, bound, portable.zeros(bound.shape, bound) + 1.0
        )

    def _second_moment(self):
        origin = self.blocks.place(np.zeros(self.n_features, dtype=self.blocks.dtype))
        kind = StoredMoments if self.blocks.is_sparse else Moments
        *_, square = self.blocks.accumulate(kind(origin))
        return square / self.blocks.total_weight

    # Sums over rows --------------------------------------------------------------------

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

    def cast(self, coef, intercept) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients in the dtype and memory order of the blocks' products."""
        dtype = self.blocks.dtype
        return portable.cast(coef, dtype, self.order), portable.cast(intercept, dtype)

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

    def largest_change(self, step):
        """Return how far a step moves the logits of a row apart, at most; inf if not at hand."""
        if not (self.blocks.is_local and self.blocks.is_numpy):
            return np.inf
        ranges = self.blocks.importances(LogitRange(*self.cast(*self.coefficients(step))))
        return float(ranges.max())

    @property
    def is_compiled(self):
        """Whether there is enough work for compiled code, and Numba to compile it."""
        return self._has_compiled_loop or self.blocks.sparse_share is not None


def _scaling_of(blocks, *, center, l2):
    of_rows = Scaling.of_sparse_rows if blocks.is_sparse else Scaling.of_rows
    return of_rows(blocks, center=center, ridge=_ridge(l2, blocks.n_classes))


def _ridge(l2, n_classes):
    """Return the penalty's curvature relative to the loss's."""
    return l2 / start_curvature(n_classes)


def _sum_of_squares(matrix):
    if not isinstance(matrix, np.ndarray):
        return portable.namespace(matrix).sum(matrix * matrix)
    # As it lies in memory: np.vdot would copy a matrix in Fortran order first.
    flat = matrix.ravel(order="K")
    return float(np.vdot(flat, flat))
