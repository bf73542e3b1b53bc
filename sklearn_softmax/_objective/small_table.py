"""Small tables: a scaled copy of all rows is kept.

Where an evaluation takes microseconds, what surrounds it counts. Here an evaluation is two products
and a softmax, and the Hessian that follows takes the probabilities from it.
"""

import functools

import numpy as np

from .._rows.blocks import are_dense_in_memory
from .._rows.sums import dual_rows, smoothed_targets, with_reference
from ..functional import cross_entropy_loss_gradient
from .linear import SoftmaxObjective
from .scaled_rows import RowSample, ScaledRows, scaled_rows

# What the rows, and what their probabilities, may take (bytes).
_TABLE_BYTES = 1 << 20


def is_small(blocks):
    """Return whether rows are few enough, and in NumPy arrays of this process."""
    if not are_dense_in_memory(blocks):
        return False
    row_bytes = 8 * max(blocks.n_features + 1, blocks.n_classes)
    return blocks.is_quick and blocks.n_rows * row_bytes <= _TABLE_BYTES


class TableObjective(SoftmaxObjective):
    """The same objective, in float64, of rows of which a scaled copy is kept.

    Parameters are those of :class:`SoftmaxObjective`.
    """

    def __init__(self, blocks, **options):
        super().__init__(blocks, **options)
        self.epsilon = float(np.finfo(float).eps)
        blocks = self.blocks
        block = blocks.take(slice(0, blocks.n_rows))
        self.table = scaled_rows(block.X, self.scaling, self.fit_intercept)
        self.share = block.row_weights / blocks.total_weight
        like = np.empty((self.n_classes, len(self.table)))
        self.target = smoothed_targets(block.y, like, self.label_smoothing)
        self.last_vector = self.last_residual = None

    def in_float64(self):
        """Return itself: the table is in float64 whatever X is."""
        return self

    @functools.cached_property
    def rows(self):
        """The rows as the scaled parameters see them."""
        return _TableRows(self)

    def loss_gradient(self, vector):
        """Return the smooth part of the objective and its gradient."""
        matrix = self.unpack(vector)
        penalty_gradient = matrix * self.l2_columns
        logits = with_reference(matrix @ self.table.T)
        with np.errstate(over="ignore", invalid="ignore"):  # the solver judges what comes
            losses, residual = cross_entropy_loss_gradient(
                logits, self.target, axis=0, reduction="none", overwrite_logits=True
            )
            gradient = (residual[-self.n_outputs :] * self.share) @ self.table
        gradient += penalty_gradient
        self.last_vector, self.last_residual = vector, residual
        loss = self.share @ losses + 0.5 * np.vdot(matrix, penalty_gradient)
        return float(loss), self.pack(gradient)

    def largest_change(self, step):
        """Return how far a step moves the logits of a row apart, at most."""
        logits = with_reference(self.unpack(step) @ self.table[self.share > 0].T)
        return float(np.ptp(logits, axis=0).max())

    def dual_terms(self, vector, repair, share):
        """Return entropy and slope; as :meth:`SoftmaxObjective.dual_terms`."""
        proba = self.rows.sample_proba(vector, self.table)
        entropies, residual = dual_rows(proba, self.target, repair, share)
        slope, _ = self.split((residual[-self.n_outputs :] * self.share) @ self.table)
        return float(self.share @ entropies), slope * self.scaling.scale

    @functools.cached_property
    def target_mean(self):
        """The mean of the targets, (n_classes,)."""
        return self.target @ self.share


class _TableRows(ScaledRows):
    """The rows of such a table."""

    def sample(self, n_rows, rng):
        """Draw rows; as :meth:`ScaledRows.sample`."""
        if n_rows < self._blocks.n_rows:
            return super().sample(n_rows, rng)
        return RowSample(self._objective.table.__getitem__, self._objective.share)

    def sample_proba(self, vector, rows):
        """Return the probabilities (n_classes, n_rows) of rows drawn by :meth:`sample`."""
        objective = self._objective
        if vector is objective.last_vector and len(rows) == len(objective.table):  # (all of them)
            return objective.last_residual + objective.target
        return super().sample_proba(vector, rows)
