"""The objective as minibatch SGD takes it: loss and gradient of one batch after another."""

import functools

import numpy as np

from .._arrays import native
from .._rows.sums import LossGradient, linear_logits, loss_residual
from .linear import SoftmaxObjective
from .precision import batch_origin
from .scaling import Scaling


class MinibatchObjective(SoftmaxObjective):
    """The same objective, with the loss and the gradient of a batch of rows.

    Parameters are those of :class:`SoftmaxObjective`.
    """

    def walk(self, order, step, carry):
        """Return ``step(objective, carry, order)``.

        Where the rows are in several places, it is taken of the objective of those at each of
        them, one after another; ``carry`` goes from one to the next.
        """
        if self.blocks.is_local:
            return step(self, carry, order)
        here = functools.partial(MinibatchObjective, **self._options)
        return self.blocks.walk(order, functools.partial(_step_of_rows, here, step), carry)

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
        """What is taken off the features of a batch; None for nothing."""
        return batch_origin(self.blocks, self.scaling)

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


def _step_of_rows(objective, step, rows, carry, order):
    return step(objective(rows), carry, order)
