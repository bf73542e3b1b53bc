"""A fit of minibatch SGD to all rows."""

from .._arrays.portable import to_numpy
from .._solvers import sgd
from .._solvers.sgd_metric import stable_rate
from .._solvers.sgd_rescaling import moved
from .settings import (
    batch_size_of,
    fine_setting_of,
    first_epoch,
    generator,
    given_schedule,
    scaling_of_rows,
    seed_of,
    setting_of,
)
from .state import Steps, Stream, digest, metric_of_rows, running_rows


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
        self._rng = generator(estimator)
        self.objective = make_objective(blocks, scaling=scaling_of_rows(estimator, blocks))
        self._schedule, self._moment = self._choose_schedule()
        vector = self.objective.parameters(*start)
        self._first = first_epoch(estimator, self._schedule, vector)
        self.iterates = sgd.sgd(self.objective, self._first, self._schedule, self._rng)

    def _choose_schedule(self):
        """Return the schedule, and the second moment that its metric is made from."""
        estimator, objective = self._estimator, self.objective
        blocks = objective.blocks
        order = blocks.order(self._rng if estimator.shuffle else None)
        shown = blocks.leading(order)
        given = given_schedule(estimator, is_sparse=blocks.is_sparse)
        n_rows = blocks.n_weighted
        batch_size = min(batch_size_of(estimator, n_rows), n_rows)
        metric, moment, n_shown = None, None, 0.0
        rate = estimator.learning_rate_init
        if rate == "auto":
            metric, moment, n_shown = metric_of_rows(objective, shown)
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
        scaling = moved(objective.scaling, to_numpy)
        if estimator.learning_rate_init == "auto":
            running = running_rows(blocks, scaling, *self._moment)
        steps = Steps(
            setting_of(estimator),
            fine_setting_of(estimator, self._schedule.batch_size),
            state,
            self._schedule,
            scaling,
            objective.order,
            self._rng,
            seed_of(estimator),
            blocks.is_sparse,
            running,
            renewed_at=n_rows,
        )
        steps = steps.moved(to_numpy)
        return Stream(blocks.total_weight, n_rows, steps, digest(coef, intercept))
