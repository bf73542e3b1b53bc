r"""Minibatch stochastic gradient descent, with momentum and proximal steps for the penalty.

Each step takes the gradient of a batch of rows, which estimates that of the objective:

.. math::
    v \leftarrow \mu v + g, \qquad
    w \leftarrow \operatorname{prox}_{\tau P}(w - \eta v), \qquad
    \operatorname{prox}_{\tau P}(u) = \frac{\operatorname{sign}(u)
        \max(|u| - \tau \lambda_1, 0)}{1 + \tau \lambda_2} .

The penalty P enters by its proximal operator: it makes coefficients exactly zero, and no
penalty is too strong for the learning rate, whatever the scale of a feature. In the long run
v is :math:`g / (1 - \mu)`, so the penalty's step is :math:`\tau = \eta / (1 - \mu)`.

Like L-BFGS it is a generator, with one state an epoch.
"""

from dataclasses import dataclass

import numpy as np

from ._progress import Progress

# "adaptive" divides the learning rate by this ...
_ADAPTIVE_FACTOR = 5.0
# ... until it is this small relative to where it started.
_ADAPTIVE_END = 1e-3
# "invscaling" divides it by this power of the number of steps.
_POWER_T = 0.25
# diag(p) - pp' is never above half the identity (Boehning 1992).
_SOFTMAX_CURVATURE = 0.5
_RATE_SAMPLES = 4


@dataclass
class Schedule:
    """How the learning rate goes on: the parameters of the same names of the estimator."""

    learning_rate: str
    learning_rate_init: float
    momentum: float
    batch_size: int
    tol: float
    n_iter_no_change: int
    shuffle: bool


@dataclass
class Epoch:
    """The state of the solver after an epoch.

    Attributes
    ----------
    vector : ndarray
        The parameters.
    velocity : ndarray
        The momentum's running sum of gradients.
    rate : float
        The learning rate, before "invscaling".
    loss : float
        Mean objective of the epoch's batches, each before its step.
    n_iter : int
        Epochs so far.
    n_steps : int
        Batches so far.
    status : {"running", "converged"}
    """

    vector: np.ndarray
    velocity: np.ndarray
    rate: float
    loss: float = np.inf
    n_iter: int = 0
    n_steps: int = 0
    status: str = "running"


def sgd(objective, state, schedule, rng):
    """Run epochs of minibatch SGD.

    Parameters
    ----------
    objective : object
        ``objective.blocks.batches(size, rng)`` yields batches of rows with the weight to
        divide by; ``objective.block_loss_gradient(vector, batch, weight)`` evaluates them; and
        ``objective.penalty_weights`` are those of absolute values and of half the squares.
    state : Epoch
        Where to start. Not changed.
    schedule : Schedule
        Step sizes and when to stop.
    rng : numpy.random.Generator
        Draws the permutations.

    Yields
    ------
    Epoch
        First ``state`` itself, then after each epoch. Only the last one's status is not
        "running".
    """
    yield state
    progress = Progress(schedule.tol, schedule.n_iter_no_change)
    smallest_rate = _ADAPTIVE_END * schedule.learning_rate_init
    while state.status == "running":
        state = run_epoch(objective, state, schedule, rng)
        if progress.has_stalled(state.loss):
            if schedule.learning_rate == "adaptive" and state.rate > smallest_rate:
                state.rate /= _ADAPTIVE_FACTOR
                progress.forgive()
            else:
                state.status = "converged"
        yield state


def run_epoch(objective, state, schedule, rng):
    """Return the state after one pass over the rows; parameters as for :func:`sgd`."""
    vector, velocity = state.vector.copy(), state.velocity.copy()
    n_steps, losses = state.n_steps, []
    l1_weights, l2_weights = objective.penalty_weights
    batches = objective.blocks.batches(schedule.batch_size, rng if schedule.shuffle else None)
    with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite raises
        for batch, weight in batches:
            loss, gradient = objective.block_loss_gradient(vector, batch, weight)
            if not np.isfinite(loss):
                raise ValueError(_divergence_message(state.rate, schedule))
            rate = state.rate
            if schedule.learning_rate == "invscaling":
                rate /= (1 + n_steps) ** _POWER_T
            velocity *= schedule.momentum
            velocity += gradient
            vector -= rate * velocity
            reach = rate / (1.0 - schedule.momentum)
            vector = proximal_point(vector, reach * l1_weights, reach * l2_weights)
            losses.append(loss)
            n_steps += 1
    if not np.isfinite(vector).all():
        raise ValueError(_divergence_message(state.rate, schedule))
    return Epoch(vector, velocity, state.rate, float(np.mean(losses)), state.n_iter + 1, n_steps)


def proximal_point(vector, l1_weights, l2_weights):
    """Return what a penalty of absolute values and half squares leaves of a vector."""
    if l1_weights.any():
        vector = np.sign(vector) * np.maximum(np.abs(vector) - l1_weights, 0.0)
    return vector / (1.0 + l2_weights)


def stable_rate(objective, batch_size, rng):
    r"""Return a learning rate at which no batch can make the loss blow up.

    The Hessian on a batch is at most :math:`L = \tfrac12 \lambda_{\max}(Z^\top Z / m)` for its
    m scaled rows Z [1]_. The rate is :math:`1 / L` for the largest L of a few batches, half
    of what gradient descent bears; with momentum :math:`\mu` it bears :math:`1 + \mu` times
    that.

    References
    ----------
    .. [1] D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of
       Statistical Mathematics 44 (1992).
    """
    largest = 0.0
    for _ in range(_RATE_SAMPLES):
        batch, weight = next(objective.blocks.batches(batch_size, rng))
        products = objective.inner_products(batch)
        largest = max(largest, np.linalg.eigvalsh(products)[-1] / weight)
    return 1.0 / (_SOFTMAX_CURVATURE * max(largest, np.finfo(float).tiny))


def _divergence_message(rate, schedule):
    what = "learning_rate_init or momentum" if schedule.momentum else "learning_rate_init"
    return (
        f"The loss is no longer finite: SGD has diverged at a learning rate of {rate:.3g}. "
        f"Lower {what}, or leave learning_rate_init at 'auto', which scales the features."
    )
