"""Minibatch stochastic gradient descent: learning rates, epochs, and when to end.

Like L-BFGS it is a generator, with one state an epoch. What a step does is in
:mod:`sklearn_softmax._solvers.sgd_steps`. The metric that it is taken in is in
:mod:`sklearn_softmax._solvers.sgd_metric`.
"""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._arrays.portable import all_finite, copy_of, numbers, zeros
from .progress import Progress
from .sgd_steps import DenseSteps, Momentum, SparseSteps

# "adaptive" divides the learning rate by this ...
_ADAPTIVE_FACTOR = 5.0
# ... until it is this small relative to where it started.
_ADAPTIVE_END = 1e-3
# "invscaling" divides it by (1 + steps / 100) to this power.
_SCALING_STEPS = 100
_SCALING_POWER = 2 / 3
# Short epochs count as one until they have so many batches: what a few of them gain is little,
# however far the end is.
_LOOK_STEPS = 8 - 1e-6
# With learning_rate_init="auto", a pass over the rows that leaves them worse than it may is taken
# back, and tried again with a learning rate divided by this, so many times.
_RETREAT = 4.0
_MAX_RETREATS = 10
# An epoch of a fit may leave so many times the loss that was there, or that of no model at all.
_EXPLOSION = 1.5
# A chunk of a stream may leave its rows worse by this share of their loss, and by this share of
# the loss of no model, divided by the square root of their number: that much is noise.
_STREAM_SHARE = 0.05
_STREAM_NOISE = 0.5
# Rows that a pass is judged by.
_JUDGED_ROWS = 2048


@dataclass
class Schedule:
    """How steps are taken: the estimator's parameters, and what "auto" stands for.

    ``full_weight`` is the weight of a full batch, and the time of a step is the share of it that
    its rows have; ``n_steps`` is the time of all steps that there will be, which "cosine" needs
    to know; ``metric`` is None for the parameters' own scales; ``is_lazy`` has steps of sparse
    rows leave alone what does not occur in them. With ``may_retreat`` a learning
    rate that turns out too large is lowered; otherwise it is an error.
    """

    learning_rate: str
    learning_rate_init: float
    momentum: Momentum
    batch_size: int
    full_weight: float
    tol: float = 0.0
    n_iter_no_change: int = 5
    shuffle: bool = True
    warmup_steps: int = 0
    n_steps: float = np.inf
    metric: Any = None
    is_lazy: bool = False
    may_retreat: bool = False

    def rate(self, base, n_steps):
        """Return the learning rate at the time ``n_steps``, given the epoch's base rate."""
        if n_steps < self.warmup_steps:
            base *= (n_steps + 1) / (self.warmup_steps + 1)
        if self.learning_rate == "cosine":
            base *= 0.5 * (1 + np.cos(np.pi * min(n_steps / self.n_steps, 1.0)))
        return float(base * scheduled(self.learning_rate, n_steps))


def scheduled(learning_rate, n_steps):
    """Return what a schedule that needs no end makes of the rate at the time ``n_steps``."""
    if learning_rate != "invscaling":
        return 1.0
    return (1 + n_steps / _SCALING_STEPS) ** -_SCALING_POWER


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
        Mean loss of the epoch's rows, each before its batch's step, and the penalty at its start.
    n_iter : int
        Epochs so far.
    n_steps : float
        The time so far: how many full batches would weigh as much as the rows so far.
    last_share : float
        The time of the last step.
    status : {"running", "converged"}
    """

    iterate: np.ndarray
    velocity: np.ndarray
    average: np.ndarray | None
    rate: float
    loss: float = np.inf
    n_iter: int = 0
    n_steps: float = 0.0
    last_share: float = 1.0
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
        if vector is self.vector:
            return replace(self, status="running")
        return replace(
            self,
            status="running",
            iterate=copy_of(vector),
            velocity=zeros(vector.shape, vector),
            average=None if self.average is None else copy_of(vector),
        )


class _DivergenceError(ValueError):
    pass


class Judge:
    """Some rows, spread over all of them, that tell whether steps have helped.

    Parameters
    ----------
    objective : SoftmaxObjective
        The rows and their loss.
    is_stream : bool
        Whether the rows are a chunk of a stream, whose model shall be no worse on them than it
        was before; a fit may wander, as long as it does not explode.
    """

    def __init__(self, objective, *, is_stream):
        self._objective = objective
        self._is_stream = is_stream
        self._batches = None
        self._last: Any = None, None
        if objective.blocks.is_local:
            index, is_drawn = self._choose_rows()
            self._batches = list(objective.batches(_JUDGED_ROWS, index))
            if is_drawn:  # in proportion to their weights, so that these have had their effect
                self._batches = [
                    (batch._replace(weight=None), float(batch.X.shape[0]))
                    for batch, _ in self._batches
                ]

    def _choose_rows(self):
        """Return the positions of rows, and whether they were drawn by their weights."""
        blocks = self._objective.blocks
        rows = blocks.order()
        if len(rows) <= _JUDGED_ROWS:
            return rows, False
        places = (np.arange(_JUDGED_ROWS) + 0.5) / _JUDGED_ROWS
        weight = blocks.host_weight
        if weight is None:
            return rows[(places * len(rows)).astype(int)], False
        reached = np.cumsum(weight[rows])
        return rows[np.searchsorted(reached, places * reached[-1])], True

    def loss(self, vector):
        """Return the mean loss of the rows; elsewhere than here, the objective of all.

        The last one is remembered: an epoch begins where the one before it has ended. (No vector is
        changed once it is in a state.)
        """
        if vector is not self._last[0]:
            self._last = vector, self._loss(vector)
        return self._last[1]

    def _loss(self, vector):
        objective = self._objective
        if self._batches is None:
            return objective.loss_gradient(vector)[0]
        matrix = objective.unpack(vector)
        total = sum(weight for _, weight in self._batches)
        return sum(
            float(objective.block_loss_gradient(matrix, batch, total)[0])
            for batch, _ in self._batches
        )

    def limit(self, loss):
        """Return the largest loss that a pass may leave, given that before it."""
        no_model = self._objective.uniform_loss
        if not self._is_stream:
            return _EXPLOSION * max(loss, no_model)
        blocks = self._objective.blocks
        return (1 + _STREAM_SHARE) * loss + _STREAM_NOISE * no_model / np.sqrt(blocks.n_weighted)


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
    judge = Judge(objective, is_stream=False) if schedule.may_retreat else None
    looked_at = state.n_steps
    while state.status == "running":
        state = run_epoch(objective, state, schedule, rng, judge)
        if schedule.learning_rate == "cosine":
            # Midway the loss may rest; it falls when the rate does.
            if state.n_steps >= (1 - 1e-9) * schedule.n_steps:  # (a sum of shares)
                state.status = "converged"
        elif state.n_steps < looked_at + _LOOK_STEPS:
            pass
        elif progress.has_stalled(state.loss):
            if schedule.learning_rate == "adaptive" and state.rate > smallest_rate:
                state.rate /= _ADAPTIVE_FACTOR
                progress.forgive()
            elif (loss := _average_loss(objective, state)) < best_average - schedule.tol:
                best_average = loss
                progress.forgive()
            else:
                state.status = "converged"
        if state.n_steps >= looked_at + _LOOK_STEPS:
            looked_at = state.n_steps
        yield state


def _average_loss(objective, state):
    """Return the objective at the average; inf where there is none.

    It falls on where the loss of the iterates, which goes up and down, has stalled.
    """
    return np.inf if state.average is None else objective.loss_gradient(state.average)[0]


def run_epoch(objective, state, schedule, rng, judge=None):
    """Return the state after one pass over the rows; parameters as for :func:`sgd`.

    ``judge`` says whether the pass is to be taken back and tried at a lower rate.
    """
    order = objective.blocks.order(rng if schedule.shuffle else None)
    if judge is None:
        return _pass_over(objective, state, schedule, order)
    limit = judge.limit(judge.loss(state.vector))
    for _ in range(_MAX_RETREATS):
        try:
            after = _pass_over(objective, state, schedule, order)
        except _DivergenceError:
            pass
        else:
            if judge.loss(after.vector) <= limit:
                return after
        velocity = zeros(state.velocity.shape, state.velocity)
        state = replace(state, rate=state.rate / _RETREAT, velocity=velocity)
    return _pass_over(objective, state, schedule, order)


def _pass_over(objective, state, schedule, order):
    """Return the state after one pass over the rows at ``order``."""
    step = functools.partial(_take_steps, schedule)
    after, loss, time = objective.walk(order, step, (state, 0.0, 0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        loss = loss / time + objective.penalty(objective.unpack(state.iterate))
    after = replace(after, loss=loss, n_iter=state.n_iter + 1)
    if not (np.isfinite(loss) and all_finite(after.iterate) and all_finite(after.vector)):
        raise _DivergenceError(_divergence_message(state.rate, schedule))
    return after


def _take_steps(schedule, objective, carry, order):
    """Take the steps of the rows at ``order``.

    ``carry`` is a state, the sum of the losses of the batches so far, and the time that they
    took; and so is what is returned.
    """
    state, loss, time = carry
    iterate = copy_of(state.iterate)
    # (Without momentum nothing is written there.)
    velocity = copy_of(state.velocity) if schedule.momentum.decay else state.velocity
    average = None if state.average is None else copy_of(state.average)
    steps_class = SparseSteps if schedule.is_lazy else DenseSteps
    steps: Any = steps_class(
        objective,
        objective.unpack(iterate),
        objective.unpack(velocity),
        None if average is None else objective.unpack(average),
        schedule.momentum,
        schedule.metric,
    )
    n_steps, last_share, waiting = state.n_steps, state.last_share, []
    with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite raises
        for batch, weight in objective.batches(schedule.batch_size, order):
            # A batch that weighs as much as several takes as many steps.
            n_parts = max(1, int(weight / schedule.full_weight))
            share = weight / (n_parts * schedule.full_weight)
            for part in range(n_parts):
                rate = schedule.rate(state.rate, n_steps)
                n_steps += share
                batch_loss = steps.step(
                    batch, n_parts * schedule.full_weight, rate, n_steps, share, last_share
                )
                last_share = share
                if part == 0:
                    waiting.append(batch_loss * n_parts)
            time += n_parts * share
            # (A loss on a device is not waited for.)
            if objective.blocks.is_numpy and not np.isfinite(waiting[-1]):
                raise _DivergenceError(_divergence_message(state.rate, schedule))
    steps.finish()
    loss += sum(numbers(waiting))
    moved = {"iterate": iterate, "velocity": velocity, "average": average}
    return replace(state, **moved, n_steps=n_steps, last_share=last_share), loss, time


def _divergence_message(rate, schedule):
    what = "learning_rate_init or momentum" if schedule.momentum.decay else "learning_rate_init"
    told = f"The loss is no longer finite: SGD has diverged at a learning rate of {rate:.3g}. "
    if schedule.may_retreat:
        return told + (
            "No lower rate helped: X or sample_weight holds values too large for sums of them. "
            "Scale the features."
        )
    return told + f"Lower {what}, or leave learning_rate_init at 'auto', which scales the features."
