r"""The penalty of a linear model, and what it is taken of: coefficients, and no intercept.

.. math::
    \frac{\lambda_2}{2} \|W\|_2^2 + \lambda_1 \|W\|_1 , \qquad
    \lambda_2 = \frac{1 - \rho}{C S} , \quad \lambda_1 = \frac{\rho}{C S}

for the ``l1_ratio`` :math:`\rho` and the total weight S of the rows. Solvers see parameters of
scaled features, so each column of these has a weight of its own.
"""

import functools

from .._arrays import portable
from .parameters import LinearParameters


def penalty_strengths(C, l1_ratio, total_weight):
    r"""Return :math:`\lambda_1` and :math:`\lambda_2`."""
    strength = 1.0 / (C * total_weight)
    return l1_ratio * strength, (1.0 - l1_ratio) * strength


class PenalisedParameters(LinearParameters):
    """Parameters, and the penalty of those that have one.

    Parameters
    ----------
    blocks : RowBlocks
        As for :class:`LinearParameters`, which takes ``options``.
    l1, l2 : float
        The strengths, as :func:`penalty_strengths` returns them.
    """

    def __init__(self, blocks, *, l1, l2, **options):
        super().__init__(blocks, **options)
        self.l1, self.l2 = l1, l2

    @functools.cached_property
    def penalty_columns(self):
        """Weights of absolute values and of half squares of each column's parameters.

        That of the intercept, the last column, stays 0: a penalty would make the classes' shares
        wrong for the sake of where the features' zero happens to be.
        """
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

    def penalty(self, matrix):
        """Return the penalty of an (n_outputs, n_columns) matrix of parameters."""
        l1, l2 = self.penalty_columns
        xp = portable.namespace(matrix)
        penalty = 0.5 * float(xp.sum((matrix * matrix) @ l2))
        return penalty + float(xp.sum(xp.abs(matrix) @ l1)) if self.l1 else penalty
