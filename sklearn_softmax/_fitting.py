"""From parameters and checked data to a model: which objective, solver and step sizes."""

import copy
import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state

from . import _ascent, _sgd, _targets
from ._arrays import to_numpy
from ._certificate import duality_gap
from ._curvature import Curvature
from ._lbfgs import lbfgs
from ._metric import FIRST_ROWS, choose_metric, stable_rate
from ._objective import SoftmaxObjective, n_outputs
from ._prediction import LARGEST_ROUNDING
from ._scaling import Scaling
from ._span import row_span
from ._steps import Momentum
from ._table import TableObjective, is_small
from ._training import Training, train

# "auto" makes batches of so many rows that an epoch has at least so many, within bounds; and
# of few rows one batch, so that a weight is the same as repeating a row.
_BATCHES = 32
_SMALLEST_BATCH, _LARGEST_BATCH = 32, 256
_FEW_ROWS = 64
_MOMENTUM = 0.9


@dataclass
class Stream:
    """What the next ``partial_fit`` goes on with, besides the model.

    Attributes
    ----------
    weight_seen : float
        The weight of all rows so far, which the penalty is set against.
    steps : _Steps or None
        The state of SGD; None where another solver fitted the model.
    """

    weight_seen: float
    steps: Any = None


@dataclass
class _Steps:
    """SGD as far as it has come, without its rows."""

    learning_rate_init: Any
    state: _sgd.Epoch
    schedule: _sgd.Schedule
    scaling: Scaling
    rng: np.random.Generator

    def moved(self, move):
        """Return the same with every array moved: what is kept is NumPy's, whatever X was."""
        state, metric = self.state, self.schedule.metric
        scaling = self.scaling
        if not scaling.is_trivial:
            scaling = Scaling(move(scaling.center), move(scaling.scale))
        return replace(
            self,
            state=replace(
                state,
                iterate=move(state.iterate),
                velocity=move(state.velocity),
                average=None if state.average is None else move(state.average),
            ),
            schedule=replace(self.schedule, metric=None if metric is None else move(metric)),
            scaling=scaling,
        )


@dataclass
class Fitted:
    """A fitted model, and how it came about.

    Attributes
    ----------
    model : dict
        ``coef_``, ``intercept_`` and ``classes_``.
    training : Training
        What the iterations showed.
    stream : Stream
        For the next ``partial_fit``.
    duality_gap : float
        How far the model is from the optimum at most.
    """

    model: dict
    training: Training
    stream: Stream
    duality_gap: float = np.inf


def initial_coefficients(estimator, data, *, warm):
    """Return (W, b) to start from: those of the estimator (``warm``), or zeros."""
    if warm:
        coef = estimator.coef_.toarray() if sp.issparse(estimator.coef_) else estimator.coef_
        return coef.astype(np.float64), estimator.intercept_.astype(np.float64)
    n_rows = n_outputs(len(data.classes))
    return np.zeros((n_rows, data.n_features)), np.zeros(n_rows)


def fit_all(estimator, data, start, observer=None):
    """Fit a model to all rows with the estimator's solver.

    Parameters
    ----------
    estimator : SoftmaxRegressionClassifier
        Its parameters are read, and nothing is changed.
    data : TrainingData
        What to fit.
    start : tuple of ndarray
        Coefficients and intercepts to start from.
    observer : Observer or None
        Is told of the iterations.

    Returns
    -------
    Fitted
    """
    with data.rows(estimator.n_jobs) as blocks:
        score = _set_rows_aside(estimator, data, blocks) if estimator.early_stopping else None
        if estimator.solver == "lbfgs":
            objective = _lbfgs_objective(estimator, blocks)
            if not objective.l1 and objective.n_outputs > 1:
                # Steps keep what coefficients sum to over the classes; the optimum has it at 0.
                start = start[0] - start[0].mean(axis=0), start[1]
            iterates = _lbfgs_iterates(estimator, objective, objective.parameters(*start))
        else:
            rng = _generator(estimator)
            objective = _objective(estimator, blocks, scaling=_sgd_scaling(estimator, blocks))
            schedule = _schedule(estimator, objective, rng)
            first = _first_epoch(estimator, schedule, objective.parameters(*start))
            iterates = _sgd.sgd(objective, first, schedule, rng)
        if observer is not None:
            observer.watch(lambda vector: _model(objective, vector, data))
        training = train(
            iterates,
            max_iter=estimator.max_iter,
            score=None if score is None else lambda vector: score(objective, vector),
            tol=estimator.tol,
            n_iter_no_change=estimator.n_iter_no_change,
            observer=observer,
        )
        model = _model(objective, training.vector, data)
        gap = _gap_of(objective, training, model)
    stream = Stream(data.total_weight)
    if estimator.solver == "sgd":
        state = training.state.restored(training.vector)
        steps = _Steps(estimator.learning_rate_init, state, schedule, objective.scaling, rng)
        stream.steps = steps.moved(to_numpy)
    return Fitted(model, training, stream, gap)


def _gap_of(objective, training, model):
    """Return the duality gap of a training's model, as it is published."""
    if model["coef_"].dtype == np.float32 and objective.blocks.is_numpy:
        # A gap may be smaller than what float32 shows, or than the rounding of coefficients.
        precise = objective.in_float64()
        return duality_gap(precise, precise.parameters(model["coef_"], model["intercept_"]))
    state, known = training.state, {}
    if training.vector is state.vector and getattr(state, "gradient", None) is not None:
        known = {"loss": state.loss, "gradient": state.gradient}
    return duality_gap(objective, training.vector, **known)


def fit_chunk(estimator, data, start, stream=None):
    """Take one epoch of SGD over a chunk of rows; parameters as for :func:`fit_all`.

    ``stream`` is that of the last chunk, or None.
    """
    weight_seen = data.total_weight + (0.0 if stream is None else stream.weight_seen)
    steps = None if stream is None else stream.steps
    if steps is not None and steps.learning_rate_init != estimator.learning_rate_init:
        steps = None  # the parameter has been changed: start anew with it
    rng = _generator(estimator) if steps is None else copy.deepcopy(steps.rng)
    with data.rows(estimator.n_jobs) as blocks:
        steps = None if steps is None else steps.moved(blocks.place)
        scaling = _sgd_scaling(estimator, blocks) if steps is None else steps.scaling
        objective = _objective(estimator, blocks, scaling=scaling, penalty_weight=weight_seen)
        if steps is None:
            schedule = _schedule(estimator, objective, rng)
            state = _first_epoch(estimator, schedule, objective.parameters(*start))
        else:
            schedule = replace(steps.schedule, **_given(estimator, blocks))
            state = steps.state
        state = _sgd.run_epoch(objective, state, schedule, rng)
    training = Training(state, state.vector, [state.loss])
    steps = _Steps(estimator.learning_rate_init, state, schedule, scaling, rng).moved(to_numpy)
    return Fitted(_model(objective, state.vector, data), training, Stream(weight_seen, steps))


def _lbfgs_objective(estimator, blocks):
    """Return the objective, in the space that the rows span if that is a smaller one."""
    if estimator.l1_ratio == 0 and np.isfinite(estimator.C):
        span = row_span(blocks, center=estimator.fit_intercept, C=estimator.C)
        if span is not None:
            return _objective(estimator, span.blocks, span=span)
    return _objective(estimator, blocks, TableObjective if is_small(blocks) else SoftmaxObjective)


def _lbfgs_iterates(estimator, objective, vector):
    """Yield the iterates of L-BFGS, after those of what finds it a better start."""
    n_iter = 0
    if _ascent.applies(objective) and not vector.any():
        state = yield from _ascent.ascend(objective, vector, tol=estimator.tol)
        vector, n_iter = state.vector, state.n_iter
    yield from lbfgs(
        objective,
        Curvature(objective),
        vector,
        tol=estimator.tol,
        l1_weights=objective.l1_weights if objective.l1 else None,
        n_iter=n_iter,
        rough=None if objective.l1 else objective.rough(),
        certificate=functools.partial(duality_gap, objective),
        certificate_order=2 if objective.l2 else 1,
    )


def _objective(estimator, blocks, kind=SoftmaxObjective, **options):
    return kind(
        blocks,
        C=estimator.C,
        l1_ratio=estimator.l1_ratio,
        fit_intercept=estimator.fit_intercept,
        label_smoothing=estimator.label_smoothing,
        **options,
    )


def _model(objective, vector, data):
    """Return the fitted attributes for a vector of parameters.

    They are of the dtype that X is computed in, where that can tell them: a feature far from zero
    takes more digits.
    """
    coef, intercept = objective.model(vector)
    is_exact = objective.cancellation(coef) * np.finfo(data.dtype).eps <= LARGEST_ROUNDING
    dtype = data.dtype if is_exact else np.float64
    return {
        "coef_": np.ascontiguousarray(coef, dtype=dtype),
        "intercept_": np.array(intercept, dtype=dtype),
        "classes_": data.classes,
    }


def _set_rows_aside(estimator, data, blocks):
    """Take rows out of the training; return what scores a vector of parameters on them."""
    training_rows, rows = _targets.split_rows(
        data.strata, data.weight, estimator.validation_fraction, estimator.random_state
    )
    weight = None if data.weight is None else data.weight[rows]
    # A row set aside is a row of weight 0: no part of X is copied.
    training_weight = np.zeros(blocks.n_rows)
    training_weight[training_rows] = 1.0 if weight is None else data.weight[training_rows]
    blocks.set_weight(training_weight)

    def score(objective, vector):
        loss = objective.mean_loss(vector, rows, weight)
        if not np.isfinite(loss):
            raise ValueError("The loss of the validation rows is not finite.")
        return -loss

    return score


# SGD -----------------------------------------------------------------------------------


def _generator(estimator):
    seed = check_random_state(estimator.random_state).randint(np.iinfo(np.int32).max)
    return np.random.default_rng(seed)


def _sgd_scaling(estimator, blocks):
    if estimator.learning_rate_init != "auto":
        # A learning rate given as a number is meant for the features as they are.
        return Scaling.unscaled()
    if not estimator.shuffle:
        # What a stream of the same rows has seen when it starts.
        blocks = blocks.head(FIRST_ROWS)
    if blocks.is_sparse:
        return Scaling.of_stored(blocks)
    return Scaling.of_rows(blocks, center=estimator.fit_intercept)


def _schedule(estimator, objective, rng):
    """Return the schedule, with a learning rate for what is left at "auto"."""
    blocks = objective.blocks
    order = blocks.order(rng if estimator.shuffle else None)
    n_rows, shown = blocks.n_weighted, blocks.leading(order)
    is_auto = estimator.learning_rate_init == "auto"
    given = _given(estimator, blocks)
    batch_size = estimator.batch_size
    if batch_size == "auto" and n_rows <= _FEW_ROWS:
        batch_size = _FEW_ROWS
    elif batch_size == "auto":
        batch_size = min(max(n_rows // _BATCHES, _SMALLEST_BATCH), _LARGEST_BATCH)
    metric = choose_metric(objective, shown) if is_auto else None
    rate = estimator.learning_rate_init
    if is_auto:
        rate = stable_rate(objective, metric, shown, batch_size, given["momentum"].decay)
    return _sgd.Schedule(
        **{"batch_size": batch_size, **given},
        learning_rate_init=rate,
        n_steps=estimator.max_iter * -(-n_rows // batch_size),
        metric=metric,
        may_retreat=is_auto,
    )


def _given(estimator, blocks):
    """Return what the estimator's parameters say of a schedule by themselves."""
    momentum = estimator.momentum
    if momentum == "auto":
        momentum = 0.0 if blocks.is_sparse else _MOMENTUM
    given = {
        "learning_rate": estimator.learning_rate,
        "momentum": Momentum(momentum, estimator.nesterovs_momentum),
        "tol": estimator.tol,
        "n_iter_no_change": estimator.n_iter_no_change,
        "shuffle": estimator.shuffle,
        "warmup_steps": estimator.warmup_steps,
    }
    if estimator.batch_size != "auto":
        given["batch_size"] = estimator.batch_size
    return given


def _first_epoch(estimator, schedule, vector):
    average = estimator.average
    if average == "auto":
        # An average of iterates with zeros in other places has few.
        average = estimator.learning_rate_init == "auto" and not estimator.l1_ratio
    return _sgd.Epoch.start(vector, schedule.learning_rate_init, is_averaged=average)
