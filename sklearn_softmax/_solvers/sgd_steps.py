r"""One step of minibatch SGD: momentum, penalty and average of the iterates.

A step takes the gradient g of a batch of rows, which estimates that of the loss:

.. math::
    v \leftarrow \mu v + g, \qquad
    w \leftarrow \operatorname{prox}_{\tau P}(w - \eta v), \qquad
    \operatorname{prox}_{\tau P}(u) = \frac{\operatorname{sign}(u)
        \max(|u| - \tau \lambda_1, 0)}{1 + \tau \lambda_2} .

The penalty P enters by its proximal operator: it makes coefficients exactly zero, and no
penalty is too strong for the learning rate, whatever the scale of a feature. In the long run
v is :math:`g / (1 - \mu)`, so the penalty's step is :math:`\tau = \eta / (1 - \mu)`. In a
metric M that is not diagonal (:mod:`sklearn_softmax._solvers.sgd_metric`) the operator has no
closed form; there g includes the gradient of an L2 penalty, and the step is :math:`\eta v M`.

Rows move the model as far as they are worth, however they are cut into batches. The time of a
step is its ``share``: the weight of its rows over that of a full batch. A step of share s takes
g as a sum over its rows divided by the weight of a full batch, so all of them together move the
model as far as one full batch does. Schedule, penalty, momentum and average count in the same
time: v becomes :math:`\mu^s v` until the next step, and the step is
:math:`\eta v (1 - \mu^s) / (1 - \mu)`. A gradient then moves the model by
:math:`\eta g / (1 - \mu)` in all, whatever the shares of the steps after it.

The average gives iterate t the weight t**8: it forgets the start, and needs no end [1]_.

Parameters are matrices, (n_outputs, n_columns) as the objective unpacks them.

References
----------
.. [1] O. Shamir, T. Zhang, "Stochastic gradient descent for non-smooth optimization:
   convergence results and optimal averaging schemes", ICML (2013): polynomial-decay averaging.
"""

from dataclasses import dataclass

import numpy as np

from .._arrays import native, portable

_AVERAGE_POWER = 8
# How much of a parameter the penalty may take, as a factor, before that is settled.
_LARGEST_GROWTH = 1e100


@dataclass
class Momentum:
    """How gradients add up: ``decay`` is the share of the last step in the next."""

    decay: float
    is_nesterov: bool = False

    def advance(self, velocity, gradient, share=1.0, last_share=1.0):
        """Update the velocity in place; return the direction of the step.

        ``share`` is the time that the step takes, ``last_share`` that of the last one.
        """
        if not self.decay:
            return gradient
        velocity *= self.decay**last_share
        velocity += gradient
        kept = self.decay**share
        direction = gradient + kept * velocity if self.is_nesterov else velocity
        return direction if share == 1.0 else direction * ((1.0 - kept) / (1.0 - self.decay))

    @property
    def reach(self):
        """How many times its size a constant gradient's step becomes in the long run."""
        return 1.0 / (1.0 - self.decay)


def average_share(time, share=1.0):
    r"""Return the share of an iterate in the average of all.

    Iterates up to time t weigh :math:`t (t + 1) \dots (t + 8)` together, so that the t-th of
    as many whole steps weighs about t**8.

    Parameters
    ----------
    time : float
        After the step that led to the iterate.
    share : float
        The time that the step took.
    """
    kept = 1.0
    for i in range(_AVERAGE_POWER + 1):
        kept *= (time - share + i) / (time + i)
    return 1.0 - max(kept, 0.0)


def proximal_point(matrix, l1, l2):
    """Return what a penalty of ``l1`` times absolute values and ``l2`` half squares leaves."""
    if l1 is not None:
        xp = portable.namespace(matrix)
        matrix = xp.sign(matrix) * portable.at_least(xp.abs(matrix) - l1, 0.0)
    return matrix if l2 is None else matrix / (1.0 + l2)


def _positive(objective):
    """Return the weights of the penalty's two parts by column; None for one that is not there."""
    l1, l2 = objective.penalty_columns
    return (l1 if objective.l1 else None), (l2 if objective.l2 else None)


class DenseSteps:
    """Steps of all parameters.

    Parameters
    ----------
    objective : SoftmaxObjective
        Gives loss and gradient of a batch, and the weights of the penalty.
    matrix, velocity : ndarray of shape (n_outputs, n_columns)
        Changed in place.
    average : ndarray of shape (n_outputs, n_columns) or None
        Changed in place; None for no average.
    momentum : Momentum
    metric : ndarray of shape (n_columns, n_columns) or None
        None for the parameters' own.
    """

    def __init__(self, objective, matrix, velocity, average, momentum, metric):
        self._objective = objective
        self._matrix = matrix
        self._velocity = velocity
        self._average = average
        self._momentum = momentum
        self._metric = metric
        self._l1, self._l2 = _positive(objective)

    def step(self, batch, weight, rate, time, share, last_share):
        """Take the step of a batch.

        Parameters
        ----------
        batch : Block
            Its rows.
        weight : float
            What to divide sums over the rows by.
        rate : float
            The learning rate.
        time : float
            After the step, in full batches.
        share, last_share : float
            The time that this step takes, and that the last one took.

        Returns
        -------
        loss : array of shape ()
            Before the step: the sum over the rows, divided by ``weight``.
        """
        matrix = self._matrix
        loss, gradient = self._objective.block_loss_gradient(matrix, batch, weight)
        if self._metric is None:
            direction = self._momentum.advance(self._velocity, gradient, share, last_share)
            matrix -= rate * direction
            reach = rate * self._momentum.reach * share
            l1, l2 = (None if part is None else reach * part for part in (self._l1, self._l2))
            if l1 is not None or l2 is not None:
                matrix[...] = proximal_point(matrix, l1, l2)
        else:
            if self._l2 is not None:
                gradient += share * self._l2 * matrix
            direction = self._momentum.advance(self._velocity, gradient, share, last_share)
            matrix -= rate * (direction @ self._metric)
        if self._average is not None:
            self._average += average_share(time, share) * (matrix - self._average)
        return loss

    def finish(self):
        """Bring everything up to date at the end of an epoch."""


class SparseSteps:
    r"""Steps of the features that occur in a batch; the others are seen to when they occur.

    A step costs what its non-zeros do, whatever the number of features. What it owes to the
    others is settled later, all at once: k proximal steps of sizes :math:`\tau_i` take u to

    .. math::
        \frac{\operatorname{sign}(u) \max(|u| - B, 0)}{A}, \qquad
        A = \prod_i (1 + \tau_i \lambda_2), \quad
        B = \sum_i \tau_i \lambda_1 \prod_{j < i} (1 + \tau_j \lambda_2) ,

    so running values of A and B for each feature suffice. The average treats u as constant
    since then. The momentum of a feature rests while it does not occur, as in the lazy
    optimisers of PyTorch and TensorFlow.

    Parameters
    ----------
    objective, matrix, velocity, average, momentum, metric
        As for :class:`DenseSteps`; ``metric`` is None.
    """

    def __init__(self, objective, matrix, velocity, average, momentum, metric):
        self._objective = objective
        # A feature's parameters lie together.
        self._matrix, self._velocity = matrix.T, velocity.T
        self._average = None if average is None else average.T
        self._momentum = momentum
        self._l1, self._l2 = _positive(objective)
        n_columns = len(self._matrix)
        self._fastest = 0 if self._l2 is None else int(np.argmax(self._l2))
        self._growth = np.ones(n_columns)  # A
        self._toll = np.zeros(n_columns)  # B
        self._growth_then, self._toll_then = self._growth.copy(), self._toll.copy()
        self._memory, self._memory_then = 1.0, np.ones(n_columns)

    def step(self, batch, weight, rate, time, share, last_share):
        """Take the step of a batch; as :meth:`DenseSteps.step`."""
        objective, columns = self._objective, self._objective.columns_of(batch)
        self._settle(columns)
        if not self._momentum.decay:
            loss = objective.descend(self._matrix.T, batch, weight, rate)
        else:
            part, velocity = self._matrix[columns], self._velocity[columns]
            compact = objective.compact(batch, columns)
            loss, gradient = objective.block_loss_gradient(part.T, compact, weight, columns)
            direction = self._momentum.advance(velocity, gradient.T, share, last_share)
            self._matrix[columns] -= rate * direction
            self._velocity[columns] = velocity
        reach = rate * self._momentum.reach * share
        if self._l1 is not None:
            self._toll += reach * self._l1 * self._growth
        if self._l2 is not None:
            self._growth *= np.minimum(1.0 + reach * self._l2, _LARGEST_GROWTH)
        if self._average is not None:
            self._memory *= 1.0 - average_share(time, share)
            if self._memory == 0.0:  # the first iterate is an average of its own
                self.finish()
        if self._growth[self._fastest] > _LARGEST_GROWTH:
            self.finish()
        return loss

    def _settle(self, columns):
        """Make up for the steps that were left out for some columns."""
        then, now = self._growth_then[columns], self._growth[columns]
        toll = (self._toll[columns] - self._toll_then[columns]) / then
        kept = self._memory / self._memory_then[columns]
        native.settle_rows(
            self._matrix,
            columns,
            then / now,
            toll,
            self._average,
            kept,
            is_compiled=self._objective.is_compiled,
        )
        self._growth_then[columns] = now
        self._toll_then[columns] = self._toll[columns]
        self._memory_then[columns] = self._memory

    def finish(self):
        """Bring everything up to date at the end of an epoch."""
        self._settle(np.arange(len(self._matrix)))
        self._growth[...] = self._growth_then[...] = 1.0
        self._toll[...] = self._toll_then[...] = 0.0
        self._memory_then[...] = self._memory = 1.0
