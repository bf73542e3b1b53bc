"""Minibatch stochastic gradient descent: learning rates, epochs, and when to end.

Like L-BFGS it is a generator, with one state an epoch. What a step does is in
:mod:`sklearn_softmax._steps`, the scales it is taken in in :mod:`sklearn_softmax._metric`.
"""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._arrays import all_finite, copy_of, numbers, zeros
from ._progress import Progress
from ._steps import DenseSteps, Momentum, SparseSteps

# "adaptive" divides the learning rate by this ...
_ADAPTIVE_FACTOR = 5.0
# ... until it is this small relative to where it started.
_ADAPTIVE_END = 1e-3
# "invscaling" divides it by (1 + steps / 100) to this power.
_SCALING_STEPS = 100
_SCALING_POWER = 2 / 3
# With learning_rate_init="auto", an epoch whose mean loss exceeds so many times that of its
# first batch is taken back, and tried again with a learning rate divided by as much.
_EXPLOSION = 4.0
_MAX_RETREATS = 10


@dataclass
class Schedule:
    """How steps are taken: the estimator's parameters, and what "auto" stands for.

    ``n_steps`` is the number of all steps there will be, which "cosine" needs to know;
    ``metric`` is None for the parameters' own scales. With ``may_retreat`` a learning rate that
    turns out too large is lowered; otherwise it is an error.
    """

    learning_rate: str
    learning_rate_init: float
    momentum: Momentum
    batch_size: int
    tol: float = 0.0
    n_iter_no_change: int = 5
    shuffle: bool = True
    warmup_steps: int = 0
    n_steps: float = np.inf
    metric: Any = None
    may_retreat: bool = False

    def rate(self, base, n_steps):
        """Return the learning rate after ``n_steps`` steps, given the epoch's base rate."""
        if n_steps < self.warmup_steps:
            base *= (n_steps + 1) / (self.warmup_steps + 1)
        if self.learning_rate == "invscaling":
            base /= (1 + n_steps / _SCALING_STEPS) ** _SCALING_POWER
        elif self.learning_rate == "cosine":
            base *= 0.5 * (1 + np.cos(np.pi * min(n_steps / self.n_steps, 1.0)))
        return float(base)


@dataclass
class Epoch:
    """The state of the solver after an epoch.

    Attributes
    ----------
    iterate, velocity : ndarray
        The parameters that steps are taken from, and the momentum's sum of gradients.
    average : ndarray or None
        The average of the iterates, if there is one.
    rate : float
        The learning rate, before what the schedule makes of it.
    loss : float
        Mean loss of the epoch's batches, each before its step, and the penalty at its start.
    n_iter : int
        Epochs so far.
    n_steps : int
        Batches so far.
    status : {"running", "converged"}
    """

    iterate: np.ndarray
    velocity: np.ndarray
    average: np.ndarray | None
    rate: float
    loss: float = np.inf
    n_iter: int = 0
    n_steps: int = 0
    status: str = "running"

    @classmethod
    def start(cls, vector, rate, *, is_averaged):
        """Return the state before the first step."""
        average = copy_of(vector) if is_averaged else None
        return cls(vector, zeros(vector.shape, vector), average, rate)

    @property
    def vector(self):
        """The parameters of the model."""
        return self.iterate if self.average is None else self.average

    def restored(self, vector):
        """Return this state with another model, to go on from."""
        which = "iterate" if self.average is None else "average"
        return replace(self, status="running", **{which: vector})


class _DivergenceError(ValueError):
    pass


def sgd(objective, state, schedule, rng):
    """Run epochs of minibatch SGD.

    Parameters
    ----------
    objective : SoftmaxObjective
        Loss, gradient and penalty of batches of its blocks.
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
    best_average = np.inf
    smallest_rate = _ADAPTIVE_END * schedule.learning_rate_init
    while state.status == "running":
        state = run_epoch(objective, state, schedule, rng)
        if schedule.learning_rate == "cosine":
            # Midway the loss may rest; it falls when the rate does.
            if state.n_steps >= schedule.n_steps:
                state.status = "converged"
        elif progress.has_stalled(state.loss):
            if schedule.learning_rate == "adaptive" and state.rate > smallest_rate:
                state.rate /= _ADAPTIVE_FACTOR
                progress.forgive()
            elif (loss := _average_loss(objective, state)) < best_average - schedule.tol:
                best_average = loss
                progress.forgive()
            else:
                state.status = "converged"
        yield state


def _average_loss(objective, state):
    """Return the objective at the average; inf where there is none.

    It falls on where the loss of the iterates, which goes up and down, has stalled.
    """
    return np.inf if state.average is None else objective.loss_gradient(state.average)[0]


def run_epoch(objective, state, schedule, rng):
    """Return the state after one pass over the rows; parameters as for :func:`sgd`."""
    order = objective.blocks.order(rng if schedule.shuffle else None)
    for _ in range(_MAX_RETREATS if schedule.may_retreat else 0):
        try:
            return _pass_over(objective, state, schedule, order)
        except _DivergenceError:
            state = replace(state, rate=state.rate / _EXPLOSION)
    return _pass_over(objective, state, schedule, order)


def _pass_over(objective, state, schedule, order):
    """Return the state after one pass over the rows at ``order``."""
    step = functools.partial(_take_steps, schedule)
    after, losses = objective.walk(order, step, (state, []))
    loss = float(np.mean(losses))
    has_exploded = schedule.may_retreat and loss > _EXPLOSION * max(losses[0], np.log(2))
    if has_exploded or not all_finite(after.iterate):
        raise _DivergenceError(_divergence_message(state.rate, schedule))
    penalty = objective.penalty(objective.unpack(state.iterate))
    return replace(after, loss=loss + penalty, n_iter=state.n_iter + 1)


def _take_steps(schedule, objective, carry, order):
    """Take the steps of the rows at ``order``.

    ``carry`` is a state and the losses of the batches so far, and so is what is returned.
    """
    state, losses = carry
    iterate = copy_of(state.iterate)
    # (Without momentum nothing is written there.)
    velocity = copy_of(state.velocity) if schedule.momentum.decay else state.velocity
    average = None if state.average is None else copy_of(state.average)
    is_lazy = objective.blocks.is_sparse and objective.blocks.is_numpy
    steps_class = SparseSteps if is_lazy else DenseSteps
    steps: Any = steps_class(
        objective,
        objective.unpack(iterate),
        objective.unpack(velocity),
        None if average is None else objective.unpack(average),
        schedule.momentum,
        schedule.metric,
    )
    n_steps, losses, waiting = state.n_steps, list(losses), []
    with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite raises
        for batch, weight in objective.batches(schedule.batch_size, order):
            rate = schedule.rate(state.rate, n_steps)
            n_steps += 1
            waiting.append(steps.step(batch, weight, rate, n_steps))
            # (A loss on a device is not waited for.)
            if objective.blocks.is_numpy and not np.isfinite(waiting[-1]):
                raise _DivergenceError(_divergence_message(state.rate, schedule))
    steps.finish()
    losses += numbers(waiting)
    if not np.isfinite(losses).all():
        raise _DivergenceError(_divergence_message(state.rate, schedule))
    moved = {"iterate": iterate, "velocity": velocity, "average": average}
    return replace(state, **moved, n_steps=n_steps), losses


def _divergence_message(rate, schedule):
    what = "learning_rate_init or momentum" if schedule.momentum.decay else "learning_rate_init"
    return (
        f"The loss is no longer finite: SGD has diverged at a learning rate of {rate:.3g}. "
        f"Lower {what}, or leave learning_rate_init at 'auto', which scales the features."
    )
