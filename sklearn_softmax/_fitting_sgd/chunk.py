"""One epoch of minibatch SGD over a chunk of a stream."""

import copy
from dataclasses import replace

import numpy as np

from .._arrays.portable import to_numpy
from .._objective.scaling import Scaling
from .._solvers import sgd
from .._solvers.sgd_metric import (
    FIRST_ROWS,
    METRIC_COLUMNS,
    bearable_rate,
    chunk_curvature,
    expected_rate,
    has_metric,
    metric_of,
    stable_rate,
    start_curvature,
)
from .._solvers.sgd_moments import RunningRows
from .._solvers.sgd_rescaling import moved, packed, rescaled
from .settings import (
    LATE_FACTOR,
    SMALLEST_BATCH,
    fine_setting_of,
    first_epoch,
    generator,
    given_schedule,
    scaling_of_rows,
    seed_of,
    setting_of,
)
from .state import Steps, digest, metric_of_rows, running_rows

# A stream takes scales and rate anew each time the rows have doubled, until they are FIRST_ROWS;
# and whenever a feature has left its scale: by this factor until then, and by LATE_FACTOR after.
_EARLY_FACTOR = 3.0
# A chunk whose curvature is so many times what the rate is for has a lower rate.
_CURVATURE_FACTOR = 8.0
# A chunk from which curvature is measured has so many batches.
_MEASURED_BATCHES = 4
# Batches of a stream with fewer rows than this have a rate that is lower in proportion: without a
# metric, and in one, where all directions are as noisy as any.
_QUIET_ROWS, _QUIET_METRIC_ROWS = 64, 128
# No batch of a stream counts as more than so many full ones.
_LARGEST_SHARE = 32.0
# Where the mean loss of rows is so many times as high as without a model, it may not rise at all:
# so many times, and this number divided by that of the rows, as a few labels may be wrong.
_FAR_ABOVE, _FAR_ROWS = 2.0, 200.0
# The noise that steps may add to a model which has seen some rows, in units of what it has.
_OWED_NOISE = 1.0


class SGDChunk:
    """One epoch of SGD over a chunk of rows.

    Parameters
    ----------
    estimator, blocks, make_objective, start
        As for :class:`~sklearn_softmax._fitting_sgd.fit.SGDFit`; ``start`` is the model as the
        estimator has it.
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
        state = packed(placed.state, objective, steps.order)
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
        return replace(self._seen, steps=self._steps, digest=digest(coef, intercept))

    def _objective(self, scaling):
        return self._make_objective(
            self._blocks,
            scaling=moved(scaling, self._blocks.place),
            penalty_weight=self._seen.weight_seen,
        )

    def _resumed(self):
        """Return the steps of the last chunk, or None where they do not lead to this model."""
        steps = self._before.steps
        if steps is None or steps.setting != setting_of(self._estimator):
            return None
        if self._before.digest != digest(*self._start):
            return None
        seed = seed_of(self._estimator)
        rng = copy.deepcopy(steps.rng) if seed == steps.seed else generator(self._estimator)
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
        rng = generator(estimator)
        if is_known and last.seed == seed_of(estimator):
            rng = copy.deepcopy(last.rng)
        schedule = sgd.Schedule(
            **given_schedule(estimator, is_sparse=is_sparse),
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
        state = first_epoch(estimator, schedule, vector)
        state.n_steps = n_steps
        is_model = any(np.any(part) for part in self._start)
        steps = Steps(
            setting_of(estimator),
            fine_setting_of(estimator, schedule.batch_size),
            state,
            schedule,
            scaling,
            objective.order,
            rng,
            seed_of(estimator),
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
        return SMALLEST_BATCH if batch_size == "auto" else batch_size

    def _ready(self, steps):
        """Return steps with what the parameters say now, and with the weight of a full batch."""
        seen = self._seen
        is_sparse = steps.is_sparse
        given = given_schedule(self._estimator, is_sparse=is_sparse)
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
        setting = fine_setting_of(estimator, self._batch_size)
        if not (
            is_first
            or steps.scaling.is_trivial
            or setting != steps.fine_setting
            or (is_early and running.rows >= 2 * steps.renewed_at)
            or running.has_left(
                steps.scaling, _EARLY_FACTOR if is_early else LATE_FACTOR, center=center
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
        scaling = scaling_of_rows(self._estimator, blocks)
        objective = self._objective(scaling)
        metric, *moment = metric_of_rows(objective, order)
        scaling = moved(scaling, to_numpy)
        running = running_rows(blocks, scaling, *moment)
        return self._with(replace(steps, running=running), objective, scaling, metric, order)

    def _with(self, steps, objective, scaling, metric, order):
        """Return steps in another scaling and metric, and with the rate that they bear."""
        estimator, running = self._estimator, steps.running
        batch_size = self._batch_size
        momentum = given_schedule(estimator, is_sparse=running.is_sparse)["momentum"].decay
        n_rows = self._blocks.n_weighted
        if n_rows >= min(FIRST_ROWS, _MEASURED_BATCHES * batch_size):
            rate = stable_rate(objective, metric, order, batch_size, momentum)
        else:
            rate = expected_rate(objective, metric, running, scaling, batch_size, momentum)
        state = rescaled(steps.state, objective, steps.scaling, scaling, steps.order)
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
            fine_setting=fine_setting_of(estimator, batch_size),
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
