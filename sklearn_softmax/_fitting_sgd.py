"""From parameters and checked data to minibatch SGD: scales, metric and rates; streams."""

import copy
import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state

from ._arrays.portable import to_numpy
from ._objective.scaling import Scaling, far_features
from ._solvers import sgd
from ._solvers.quadratic import steepest
from ._solvers.sgd_metric import (
    FIRST_ROWS,
    METRIC_COLUMNS,
    bearable_rate,
    chunk_curvature,
    expected_rate,
    has_metric,
    metric_of,
    second_moment,
    stable_rate,
    start_curvature,
)
from ._solvers.sgd_moments import RunningRows
from ._solvers.sgd_steps import Momentum
from .functional import entropy

# "auto" makes batches of so many rows that an epoch has at least so many, within bounds; and
# of few rows one batch, so that a weight is the same as repeating a row.
_BATCHES = 32
_SMALLEST_BATCH, _LARGEST_BATCH = 32, 256
_FEW_ROWS = 64
_MOMENTUM = 0.9
# A stream takes scales and rate anew each time the rows have doubled, until they are FIRST_ROWS;
# and whenever a feature has left its scale by one of these factors: the first until then.
_EARLY_FACTOR, _LATE_FACTOR = 3.0, 10.0
# A chunk whose curvature is so many times what the rate is for has a lower rate.
_CURVATURE_FACTOR = 8.0
# A chunk from which curvature is measured has so many batches.
_MEASURED_BATCHES = 4
# Batches of a stream with fewer rows than this have a rate that is lower in proportion: without a
# metric, and in one, where all directions are as noisy as any.
_QUIET_ROWS, _QUIET_METRIC_ROWS = 64, 128
# No batch of a stream counts as more than so many full ones.
_LARGEST_SHARE = 32.0
# A fit that ends above its start, or no model, by more than this share of it and so many nats
# warns. (Where a class does not occur, no model of finite coefficients is as good as the least.)
_WORSE_SHARE, _WORSE_NATS = 1e-3, 5e-3
# Where the mean loss of rows is so many times as high as without a model, it may not rise at all:
# so many times, and this number divided by that of the rows, as a few labels may be wrong.
_FAR_ABOVE, _FAR_ROWS = 2.0, 200.0
# A fit that has lowered the objective by less than this share of that of equally probable classes
# is asked whether it has learned anything.
_LITTLE = 0.02
# The noise that steps may add to a model which has seen some rows, in units of what it has.
_OWED_NOISE = 1.0


@dataclass
class Stream:
    """What the next ``partial_fit`` goes on with, besides the model.

    Attributes
    ----------
    weight_seen : float
        The weight of all rows so far, which the penalty is set against.
    rows_seen : float
        How many of them had a weight.
    steps : Steps or None
        The state of SGD; None where another solver fitted the model.
    digest : bytes
        That of the model which the steps have led to: who changes ``coef_`` goes on from there.
    """

    weight_seen: float = 0.0
    rows_seen: float = 0.0
    steps: Any = None
    digest: bytes = b""

    def after(self, blocks):
        """Return what has been seen after a chunk of rows."""
        weight_seen = float(self.weight_seen + blocks.total_weight)
        return replace(self, weight_seen=weight_seen, rows_seen=self.rows_seen + blocks.n_weighted)


@dataclass
class Steps:
    """SGD as far as it has come, without its rows.

    Attributes
    ----------
    setting : tuple
        The parameters that decide what the arrays mean: a change of them starts anew.
    fine_setting : tuple
        Those that decide the learning rate.
    state : Epoch
    schedule : Schedule
    scaling : Scaling
    order : {"C", "F"}
        Memory order of the parameters.
    rng : numpy.random.Generator
    seed : int or None
        The ``random_state`` that it is made from, if that is a number.
    is_sparse : bool
        Whether the stream began with sparse rows.
    running : RunningRows or None
        What the rows were like; None where the learning rate is given.
    renewed_at : float
        How many rows those were when scales and rate were taken.
    owed : tuple
        How many rows the model that SGD began with had seen, and the time then.
    """

    setting: tuple
    fine_setting: tuple
    state: sgd.Epoch
    schedule: sgd.Schedule
    scaling: Scaling
    order: str
    rng: np.random.Generator
    seed: Any
    is_sparse: bool
    running: RunningRows | None
    renewed_at: float = 0.0
    owed: tuple = (0.0, 0.0)

    def moved(self, move):
        """Return the same with every array moved: what is kept is NumPy's, whatever X was."""
        state, metric = self.state, self.schedule.metric
        return replace(
            self,
            state=replace(
                state,
                iterate=move(state.iterate),
                velocity=move(state.velocity),
                average=None if state.average is None else move(state.average),
            ),
            schedule=replace(self.schedule, metric=None if metric is None else move(metric)),
            scaling=_moved(self.scaling, move),
        )


# A fit ---------------------------------------------------------------------------------


class SGDFit:
    """A fit to all rows.

    Parameters
    ----------
    estimator : SoftmaxRegressionClassifier
    blocks : RowBlocks
    make_objective : callable
        ``make_objective(blocks, **options)`` returns the objective of the estimator.
    start : tuple of ndarray
        Coefficients and intercepts.
    """

    def __init__(self, estimator, blocks, make_objective, start):
        self._estimator = estimator
        self._rng = _generator(estimator)
        self.objective = make_objective(blocks, scaling=_scaling(estimator, blocks))
        self._schedule, self._moment = self._choose_schedule()
        vector = self.objective.parameters(*start)
        self._first = _first_epoch(estimator, self._schedule, vector)
        self.iterates = sgd.sgd(self.objective, self._first, self._schedule, self._rng)

    def _choose_schedule(self):
        """Return the schedule, and the second moment that its metric is made from."""
        estimator, objective = self._estimator, self.objective
        blocks = objective.blocks
        order = blocks.order(self._rng if estimator.shuffle else None)
        shown = blocks.leading(order)
        given = _given(estimator, is_sparse=blocks.is_sparse)
        n_rows = blocks.n_weighted
        batch_size = min(_batch_size(estimator, n_rows), n_rows)
        metric, moment, n_shown = None, None, 0.0
        rate = estimator.learning_rate_init
        if rate == "auto":
            metric, moment, n_shown = _metric_of_rows(objective, shown)
            rate = stable_rate(objective, metric, shown, batch_size, given["momentum"].decay)
        schedule = sgd.Schedule(
            **given,
            batch_size=batch_size,
            full_weight=float(batch_size * blocks.mean_weight),
            learning_rate_init=rate,
            n_steps=estimator.max_iter * n_rows / batch_size,
            metric=metric,
            is_lazy=blocks.is_sparse and blocks.is_numpy,
            may_retreat=estimator.learning_rate_init == "auto",
        )
        return schedule, (moment, n_shown)

    def stream(self, state, coef, intercept):
        """Return what ``partial_fit`` goes on with, given the state and the model it has led to."""
        estimator, objective, blocks = self._estimator, self.objective, self.objective.blocks
        n_rows, running = blocks.n_weighted, None
        scaling = _moved(objective.scaling, to_numpy)
        if estimator.learning_rate_init == "auto":
            running = _running_rows(blocks, scaling, *self._moment)
        steps = Steps(
            _setting(estimator),
            _fine_setting(estimator, self._schedule.batch_size),
            state,
            self._schedule,
            scaling,
            objective.order,
            self._rng,
            _seed(estimator),
            blocks.is_sparse,
            running,
            renewed_at=n_rows,
        )
        steps = steps.moved(to_numpy)
        return Stream(blocks.total_weight, n_rows, steps, _digest(coef, intercept))


# A stream ------------------------------------------------------------------------------


class SGDChunk:
    """One epoch of SGD over a chunk of rows.

    Parameters
    ----------
    estimator, blocks, make_objective, start
        As for :class:`SGDFit`; ``start`` is the model as the estimator has it.
    stream : Stream
        What has been seen.
    """

    def __init__(self, estimator, blocks, make_objective, start, stream):
        self._estimator, self._blocks = estimator, blocks
        self._make_objective, self._start = make_objective, start
        self._before, self._seen = stream, stream.after(blocks)
        self._is_auto = estimator.learning_rate_init == "auto"

    def run(self):
        """Take the epoch.

        Returns
        -------
        objective : SoftmaxObjective
        state : Epoch
        losses : tuple of float
            The mean loss of some rows before and after it.
        """
        steps = self._resumed() or self._begun()
        order = self._blocks.leading(self._blocks.order())
        if self._is_auto:
            steps = self._renewed(steps, order)
        steps = self._ready(steps)
        objective = self._objective(steps.scaling)
        placed = steps.moved(self._blocks.place)
        state = _packed(placed.state, objective, steps.order)
        schedule = placed.schedule
        state, usual_rate = self._slowed(objective, state, schedule, order, steps)
        judge = sgd.Judge(objective, is_stream=True)
        loss = judge.loss(state.vector)
        after = sgd.run_epoch(
            objective, state, schedule, steps.rng, judge if self._is_auto else None
        )
        far = (_FAR_ABOVE + _FAR_ROWS / self._blocks.n_weighted) * objective.uniform_loss
        limit = min(judge.limit(loss), max(loss, far))
        losses = loss, judge.loss(after.vector), limit
        if usual_rate is not None:
            after.rate *= usual_rate / state.rate
        self._steps = replace(placed, state=after, order=objective.order).moved(to_numpy)
        return objective, after, losses

    def stream(self, coef, intercept):
        """Return what the next chunk goes on with, given the model."""
        return replace(self._seen, steps=self._steps, digest=_digest(coef, intercept))

    def _objective(self, scaling):
        return self._make_objective(
            self._blocks,
            scaling=_moved(scaling, self._blocks.place),
            penalty_weight=self._seen.weight_seen,
        )

    def _resumed(self):
        """Return the steps of the last chunk, or None where they do not lead to this model."""
        steps = self._before.steps
        if steps is None or steps.setting != _setting(self._estimator):
            return None
        if self._before.digest != _digest(*self._start):
            return None
        seed = _seed(self._estimator)
        rng = copy.deepcopy(steps.rng) if seed == steps.seed else _generator(self._estimator)
        return replace(steps, rng=rng, seed=seed, running=copy.deepcopy(steps.running))

    def _begun(self):
        """Return steps that begin with the model as it is."""
        estimator, blocks, last = self._estimator, self._blocks, self._before.steps
        self._refuse_lost_intercept()
        is_known = last is not None and last.setting[0] == estimator.learning_rate_init
        running = copy.deepcopy(last.running) if is_known else None
        if self._is_auto and running is None:
            running = RunningRows(blocks.is_sparse)
        is_sparse = last.is_sparse if is_known else blocks.is_sparse
        rng = _generator(estimator)
        if is_known and last.seed == _seed(estimator):
            rng = copy.deepcopy(last.rng)
        schedule = sgd.Schedule(
            **_given(estimator, is_sparse=is_sparse),
            batch_size=self._batch_size,
            full_weight=1.0,
            learning_rate_init=0.0 if self._is_auto else estimator.learning_rate_init,
            is_lazy=is_sparse and blocks.is_numpy,
            may_retreat=self._is_auto,
        )
        n_rows, n_steps = self._before.rows_seen, 0.0
        if is_known:
            n_steps = last.state.n_steps * last.schedule.batch_size / schedule.batch_size
        elif self._is_auto:
            n_steps = n_rows / schedule.batch_size
        scaling = Scaling.unscaled()
        objective = self._objective(scaling)
        vector = objective.parameters(*self._start)
        state = _first_epoch(estimator, schedule, vector)
        state.n_steps = n_steps
        is_model = any(np.any(part) for part in self._start)
        steps = Steps(
            _setting(estimator),
            _fine_setting(estimator, schedule.batch_size),
            state,
            schedule,
            scaling,
            objective.order,
            rng,
            _seed(estimator),
            is_sparse,
            running,
            owed=(self._seen.rows_seen, n_steps) if is_model else (0.0, 0.0),
        )
        return steps.moved(to_numpy)

    def _refuse_lost_intercept(self):
        if not self._estimator.fit_intercept and np.any(self._start[1]):
            raise ValueError(
                "partial_fit cannot go on with fit_intercept=False from a model that has "
                f"intercepts, intercept_={self._start[1].tolist()}: it would be another model. "
                "Leave fit_intercept=True, or begin with a new estimator."
            )

    @property
    def _batch_size(self):
        batch_size = self._estimator.batch_size
        return _SMALLEST_BATCH if batch_size == "auto" else batch_size

    def _ready(self, steps):
        """Return steps with what the parameters say now, and with the weight of a full batch."""
        seen = self._seen
        is_sparse = steps.is_sparse
        given = _given(self._estimator, is_sparse=is_sparse)
        batch_size = self._batch_size
        mean_weight = max(
            seen.weight_seen / seen.rows_seen, self._blocks.mean_weight / _LARGEST_SHARE
        )
        state = steps.state
        if given["momentum"] != steps.schedule.momentum:
            state = replace(state, velocity=np.zeros_like(state.velocity))
        state = replace(state, n_steps=state.n_steps * steps.schedule.batch_size / batch_size)
        schedule = replace(
            steps.schedule,
            **given,
            batch_size=batch_size,
            full_weight=float(batch_size * mean_weight),
            is_lazy=is_sparse and self._blocks.is_sparse and self._blocks.is_numpy,
        )
        return replace(steps, state=state, schedule=schedule)

    # Scales, metric and rate -------------------------------------------------------------

    def _renewed(self, steps, order):
        """Return steps with scales, metric and rate for what has been seen, where it is time."""
        estimator, blocks, running = self._estimator, self._blocks, steps.running
        center = estimator.fit_intercept
        is_first = running.spread is None
        if is_first and blocks.n_weighted >= FIRST_ROWS:
            return self._like_a_fit(steps, order)
        has_products = blocks.n_features + center <= METRIC_COLUMNS
        running.add(blocks, order, has_products=has_products)
        is_early = steps.renewed_at < FIRST_ROWS
        setting = _fine_setting(estimator, self._batch_size)
        if not (
            is_first
            or steps.scaling.is_trivial
            or setting != steps.fine_setting
            or (is_early and running.rows >= 2 * steps.renewed_at)
            or running.has_left(
                steps.scaling, _EARLY_FACTOR if is_early else _LATE_FACTOR, center=center
            )
        ):
            return steps
        scaling = running.scaling(center=center)
        objective = self._objective(scaling)
        metric = None
        if has_metric(objective, is_sparse=running.is_sparse):
            moment = running.second_moment(scaling, fit_intercept=center)
            moment = blocks.place(moment)
            metric = metric_of(objective, moment, running.product_rows)
        return self._with(steps, objective, scaling, metric, order)

    def _like_a_fit(self, steps, order):
        """Return steps with scales, metric and rate as ``fit`` takes them from so many rows."""
        blocks = self._blocks
        scaling = _scaling(self._estimator, blocks)
        objective = self._objective(scaling)
        metric, *moment = _metric_of_rows(objective, order)
        scaling = _moved(scaling, to_numpy)
        running = _running_rows(blocks, scaling, *moment)
        return self._with(replace(steps, running=running), objective, scaling, metric, order)

    def _with(self, steps, objective, scaling, metric, order):
        """Return steps in another scaling and metric, and with the rate that they bear."""
        estimator, running = self._estimator, steps.running
        batch_size = self._batch_size
        momentum = _given(estimator, is_sparse=running.is_sparse)["momentum"].decay
        n_rows = self._blocks.n_weighted
        if n_rows >= min(FIRST_ROWS, _MEASURED_BATCHES * batch_size):
            rate = stable_rate(objective, metric, order, batch_size, momentum)
        else:
            rate = expected_rate(objective, metric, running, scaling, batch_size, momentum)
        state = _rescaled(steps.state, objective, steps.scaling, scaling, steps.order)
        ratio = steps.schedule.batch_size / batch_size
        metric = None if metric is None else to_numpy(metric)
        # A stream sees each row once: the noise of small batches is not gone over again.
        quiet_rows = _QUIET_ROWS if metric is None else _QUIET_METRIC_ROWS
        rate = float(rate * min(1.0, batch_size * running.equality / quiet_rows))
        n_owed, since = steps.owed
        if n_owed:
            curvature = 1.0
            if metric is None:
                squares = float(running.mean_squares(scaling).mean())
                curvature = start_curvature(objective.n_classes) * squares
            rate = min(rate, self._owed_rate(n_owed, since * ratio, curvature, momentum))
        return replace(
            steps,
            state=replace(state, rate=rate, n_steps=state.n_steps * ratio),
            schedule=replace(
                steps.schedule, batch_size=batch_size, learning_rate_init=rate, metric=metric
            ),
            scaling=scaling,
            renewed_at=running.rows,
            fine_setting=_fine_setting(estimator, batch_size),
            owed=(n_owed, since * ratio),
        )

    def _owed_rate(self, n_rows, since, curvature, momentum):
        """Return the rate for a model that has seen some rows.

        Steps at a rate r of batches of B rows leave, in the end, a noise of r h p / 4B in the loss
        of p parameters of mean curvature h; having seen n rows leaves one of p / 2n.
        """
        rate = 2 * _OWED_NOISE * self._batch_size / n_rows * (1.0 - momentum) / curvature
        # (The schedule has come so far already.)
        return rate / sgd.scheduled(self._estimator.learning_rate, since)

    def _slowed(self, objective, state, schedule, order, steps):
        """Return a state with a rate that this chunk bears; and the usual one, or None."""
        if not self._is_auto:
            return state, None
        momentum = schedule.momentum.decay
        curvature, own = chunk_curvature(objective, schedule.metric, order, schedule)
        running = steps.running
        share = min(1.0, self._blocks.n_weighted / self._seen.rows_seen)
        running.curvature += max(share, 0.05) * (own - running.curvature)
        bearable = bearable_rate(curvature, momentum)
        rate = schedule.rate(state.rate, state.n_steps)
        if rate <= _CURVATURE_FACTOR * bearable:
            return state, None
        return replace(state, rate=state.rate * bearable / rate), state.rate


def _metric_of_rows(objective, order):
    """Return the metric that rows show, the second moment it is made from, and of how many rows."""
    if not has_metric(objective, is_sparse=objective.blocks.is_sparse):
        return None, None, 0.0
    moment, n_shown = second_moment(objective, order)
    return metric_of(objective, moment, n_shown), moment, n_shown


def _running_rows(blocks, scaling, moment, n_shown):
    """Return what all rows were like, to go on from; parameters as they come from above."""
    return RunningRows.of_fit(
        scaling,
        blocks.n_weighted,
        blocks.total_weight,
        is_sparse=blocks.is_sparse,
        moment=None if moment is None else to_numpy(moment),
        moment_rows=n_shown,
    )


def end_of_fit(estimator, objective, start, vector, *, is_warm):
    """Return the model to keep, and what is to be said of how the fit has ended, or None.

    Parameters
    ----------
    estimator : SoftmaxRegressionClassifier
    objective : SoftmaxObjective
    start, vector : ndarray
        The parameters that the fit began and ended with.
    is_warm : bool
        Whether the start was a model, which is kept if nothing better was found.
    """
    end, constant = objective.value_gradient(vector)[0], _constant_value(objective)
    begun = objective.value_gradient(start)[0] if is_warm else objective.uniform_loss
    lowest, what = min((begun, "the model that it started from"), (constant, "no coefficients"))
    message = None
    if abs(begun - end) <= _LITTLE * objective.uniform_loss:
        message = _warning_of_idleness(estimator, objective, vector, begun, end)
    if message is None and not end <= lowest * (1 + _WORSE_SHARE) + _WORSE_NATS:
        if estimator.learning_rate_init != "auto":
            why = (
                "the learning rate is too large, or the epochs are too few. Lower "
                "learning_rate_init, or leave it at 'auto', or increase max_iter."
            )
        else:
            order = "" if estimator.shuffle else "shuffle the rows, "
            why = f"{order}increase max_iter or batch_size, or take solver='lbfgs'."
            why = why[0].upper() + why[1:]
            why = f"the steps were too few, or the rows too unlike each other. {why}"
        message = (
            f"sgd ended at an objective of {end:.6g}, which is above that of {what}, "
            f"{lowest:.6g}: {why}"
        )
    return (start if is_warm and begun < end else vector), message


def _warning_of_idleness(estimator, objective, vector, begun, end):
    """Return what is to be said of a fit that has stayed where it began, or None.

    It is said where a single step down from its end would bring more than the whole fit has.
    """
    possible = _decrease_of_a_step(objective, vector)
    if possible <= max(begun - end, _WORSE_NATS):
        return None
    why = "Increase max_iter, or take solver='lbfgs'."
    if estimator.warmup_steps:
        why = "Lower warmup_steps, or increase max_iter."
    elif estimator.learning_rate_init != "auto":
        why = "Raise learning_rate_init, or leave it at 'auto'."
    return (
        f"sgd has learned next to nothing: it ended at an objective of {end:.6g}, from "
        f"{begun:.6g}, and one step of gradient descent would lower that by {possible:.3g}. {why}"
    )


def _decrease_of_a_step(objective, vector):
    """Return by how much a step down lowers the objective.

    Each column's step is as long as its curvature allows at most, and all of them as long as the
    slope at its end tells.
    """
    loss, gradient = objective.value_gradient(vector)
    l1 = objective.l1_weights if objective.l1 else 0.0 * vector
    down = steepest(vector, gradient, l1)
    step = objective.pack(objective.unpack(down) / objective.largest_curvature)
    slope = float(down @ step)
    if not slope > 0:
        return 0.0
    bend = float((gradient - objective.loss_gradient(vector - step)[1]) @ step)
    length = min(slope / bend, 1.0) if bend > 0 else 1.0
    return loss - objective.value_gradient(vector - length * step)[0]


def _constant_value(objective):
    """Return the least objective of a model without coefficients."""
    if not objective.fit_intercept:
        return objective.uniform_loss
    # The probabilities are then the classes' shares.
    return float(entropy(np.maximum(objective.target_mean, 0.0)))


def warning_of_far_features(estimator, blocks):
    """Return what is to be said of sparse features that SGD cannot learn from, or None."""
    is_auto = estimator.learning_rate_init == "auto"
    if not (is_auto and blocks.is_sparse and blocks.n_weighted >= _FEW_ROWS):
        return None
    far = far_features(blocks)
    if not len(far):
        return None
    return (
        f"SGD does not centre sparse features, and feature {far[0]} is far from zero in nearly all "
        f"rows, as are {len(far) - 1} others: it will learn little from them. Centre them, pass X "
        "as a dense array, or take solver='lbfgs'."
    )


def end_of_chunk(estimator, losses):
    """Return what is to be said of a chunk: why it has made the model worse; or None."""
    before, after, limit = losses
    if after <= limit:
        return None
    why = (
        "the learning rate is too large. Lower learning_rate_init, or leave it at 'auto'."
        if estimator.learning_rate_init != "auto"
        else "no learning rate was low enough. Pass more rows at once, or scale the features."
    )
    return (
        f"partial_fit has left a mean loss of {after:.6g} on these rows, which was {before:.6g} "
        f"before: {why}"
    )


# What the parameters say ---------------------------------------------------------------


def _generator(estimator):
    seed = check_random_state(estimator.random_state).randint(np.iinfo(np.int32).max)
    return np.random.default_rng(seed)


def _seed(estimator):
    seed = estimator.random_state
    return int(seed) if isinstance(seed, int | np.integer) else None


def _is_averaged(estimator):
    if estimator.average == "auto":
        # An average of iterates with zeros in other places has few.
        return estimator.learning_rate_init == "auto" and not estimator.l1_ratio
    return bool(estimator.average)


def _setting(estimator):
    """Return the parameters that decide what the parameters of steps mean."""
    return (
        estimator.learning_rate_init,
        bool(estimator.fit_intercept),
        bool(estimator.l1_ratio),
        _is_averaged(estimator),
    )


def _fine_setting(estimator, batch_size):
    """Return those that decide the metric and the learning rate."""
    return (estimator.C, estimator.l1_ratio, estimator.momentum, batch_size)


def _scaling(estimator, blocks):
    if estimator.learning_rate_init != "auto":
        # A learning rate given as a number is meant for the features as they are.
        return Scaling.unscaled()
    center = estimator.fit_intercept
    whole = _scaling_of(blocks, center=center)
    if estimator.shuffle or blocks.n_weighted <= FIRST_ROWS:
        return whole
    # What a stream of the same rows has seen when it starts, unless it would take scales anew.
    head = _scaling_of(blocks.head(FIRST_ROWS), center=center)
    ratio = to_numpy(whole.scale) / to_numpy(head.scale)
    apart = np.abs(to_numpy(whole.center) - to_numpy(head.center)) / to_numpy(head.scale)
    is_far = (ratio > _LATE_FACTOR) | (ratio < 1 / _LATE_FACTOR) | (apart > _LATE_FACTOR)
    return whole if is_far.any() else head


def _scaling_of(blocks, *, center):
    if blocks.is_sparse:
        return Scaling.of_stored(blocks)
    return Scaling.of_rows(blocks, center=center)


def _batch_size(estimator, n_rows):
    if estimator.batch_size != "auto":
        return estimator.batch_size
    if n_rows <= _FEW_ROWS:
        return _FEW_ROWS
    return int(min(max(n_rows // _BATCHES, _SMALLEST_BATCH), _LARGEST_BATCH))


def _given(estimator, *, is_sparse):
    """Return what the estimator's parameters say of a schedule by themselves."""
    momentum = estimator.momentum
    if momentum == "auto":
        momentum = 0.0 if is_sparse else _MOMENTUM
    return {
        "learning_rate": estimator.learning_rate,
        "momentum": Momentum(momentum, estimator.nesterovs_momentum),
        "tol": estimator.tol,
        "n_iter_no_change": estimator.n_iter_no_change,
        "shuffle": estimator.shuffle,
        "warmup_steps": estimator.warmup_steps,
    }


def _first_epoch(estimator, schedule, vector):
    return sgd.Epoch.start(vector, schedule.learning_rate_init, is_averaged=_is_averaged(estimator))


# Parameters in other scales ------------------------------------------------------------


def _moved(scaling, move):
    if scaling.is_trivial:
        return scaling
    return Scaling(move(scaling.center), move(scaling.scale))


def _matrices(state, shape, order):
    """Return a state's vectors as matrices."""
    return {
        name: None if vector is None else vector.reshape(shape, order=order)
        for name, vector in _vectors(state).items()
    }


def _vectors(state):
    return {"iterate": state.iterate, "velocity": state.velocity, "average": state.average}


def _packed(state, objective, order):
    """Return a state in the memory order of an objective."""
    if order == objective.order:
        return state
    shape = objective.n_outputs, objective.n_columns
    host = {name: None if v is None else to_numpy(v) for name, v in _vectors(state).items()}
    matrices = _matrices(replace(state, **host), shape, order)
    return replace(
        state,
        **{
            name: None if matrix is None else objective.pack(objective.blocks.place(matrix))
            for name, matrix in matrices.items()
        },
    )


def _rescaled(state, objective, old, new, order):
    """Return a state (NumPy's) as it is in another scaling: the model stays the same."""
    shape = objective.n_outputs, objective.n_columns

    def point(matrix):
        return new.from_raw(*old.to_raw(*objective.split(matrix)))

    def derivative(matrix):
        coef, intercept = objective.split(matrix)
        if not old.is_trivial:
            coef = coef * old.scale + intercept[:, None] * old.center
        return new.gradient(coef, intercept), intercept

    result: dict[str, Any] = {}
    for name, matrix in _matrices(state, shape, order).items():
        if matrix is None:
            result[name] = None
            continue
        coef, intercept = (derivative if name == "velocity" else point)(matrix)
        moved = coef
        if objective.fit_intercept:
            moved = np.column_stack([coef, intercept])
        result[name] = moved.ravel(order=order)
    return replace(state, **result)


def _digest(coef, intercept):
    """Return a short value that changes with the model."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (coef, intercept):
        values = values.toarray() if sp.issparse(values) else np.asarray(values)
        # (0.0 and -0.0 are the same: a sparse matrix keeps no sign of a zero.)
        digest.update((values.astype(np.float64) + 0.0).tobytes())
    return digest.digest()
