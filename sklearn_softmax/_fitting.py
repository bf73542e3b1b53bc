"""From parameters and checked data to a model: which objective, solver and step sizes."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state

from . import _sgd, _targets
from ._backend import float_dtype
from ._blocks import RowBlocks
from ._curvature import Curvature
from ._lbfgs import lbfgs
from ._objective import SoftmaxObjective, n_outputs
from ._scaling import Scaling
from ._training import Training, train


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
    learning_rate_init: Any
    rate: float
    velocity: np.ndarray
    n_steps: int
    scaling: Scaling
    rng: np.random.Generator


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
    """

    model: dict
    training: Training
    stream: Stream


def initial_coefficients(estimator, data, *, warm):
    """Return (W, b) to start from: those of the estimator (``warm``), or zeros."""
    if warm:
        coef = estimator.coef_.toarray() if sp.issparse(estimator.coef_) else estimator.coef_
        return coef.astype(np.float64), estimator.intercept_.astype(np.float64)
    n_rows = n_outputs(len(data.classes))
    return np.zeros((n_rows, data.X.shape[1])), np.zeros(n_rows)


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
    with _row_blocks(estimator, data) as blocks:
        score = _set_rows_aside(estimator, data, blocks) if estimator.early_stopping else None
        if estimator.solver == "lbfgs":
            objective = _objective(estimator, blocks)
            if estimator.l1_ratio == 0 and objective.n_outputs > 1:
                # Steps keep what coefficients sum to over the classes; the optimum has it at 0.
                start = start[0] - start[0].mean(axis=0), start[1]
            iterates = lbfgs(
                objective,
                Curvature(objective),
                objective.parameters(*start),
                tol=estimator.tol,
                l1_weights=objective.penalty_weights[0] if estimator.l1_ratio else None,
            )
        else:
            rng = _generator(estimator)
            objective = _objective(estimator, blocks, scaling=_sgd_scaling(estimator))
            schedule = _schedule(estimator, _sgd_rate(estimator, objective, rng))
            vector = objective.parameters(*start)
            first = _sgd.Epoch(vector, np.zeros_like(vector), schedule.learning_rate_init)
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
    stream = Stream(data.total_weight)
    if estimator.solver == "sgd":
        stream.steps = _steps(estimator, objective, training.state, rng)
    return Fitted(_model(objective, training.vector, data), training, stream)


def fit_chunk(estimator, data, start, stream=None):
    """Take one epoch of SGD over a chunk of rows; parameters as for :func:`fit_all`.

    ``stream`` is that of the last chunk, or None.
    """
    weight_seen = data.total_weight + (0.0 if stream is None else stream.weight_seen)
    steps = None if stream is None else stream.steps
    rng = _generator(estimator) if steps is None else copy.deepcopy(steps.rng)
    if steps is not None and steps.learning_rate_init != estimator.learning_rate_init:
        steps = None  # the parameter has been changed: start anew with it
    with _row_blocks(estimator, data) as blocks:
        scaling = _sgd_scaling(estimator) if steps is None else steps.scaling
        objective = _objective(estimator, blocks, scaling=scaling, penalty_weight=weight_seen)
        rate = _sgd_rate(estimator, objective, rng) if steps is None else steps.rate
        vector = objective.parameters(*start)
        state = _sgd.Epoch(vector, np.zeros_like(vector), rate)
        if steps is not None:
            state.velocity, state.n_steps = steps.velocity, steps.n_steps
        state = _sgd.run_epoch(objective, state, _schedule(estimator, rate), rng)
    training = Training(state, state.vector, [state.loss])
    stream = Stream(weight_seen, _steps(estimator, objective, state, rng))
    return Fitted(_model(objective, state.vector, data), training, stream)


def _row_blocks(estimator, data):
    return RowBlocks(
        data.X,
        data.y,
        data.weight,
        n_classes=len(data.classes),
        class_weight=data.class_weight,
        n_jobs=estimator.n_jobs,
    )


def _objective(estimator, blocks, **options):
    return SoftmaxObjective(
        blocks,
        C=estimator.C,
        l1_ratio=estimator.l1_ratio,
        fit_intercept=estimator.fit_intercept,
        label_smoothing=estimator.label_smoothing,
        **options,
    )


def _model(objective, vector, data):
    """Return the fitted attributes for a vector of parameters."""
    dtype = float_dtype(data.X)
    coef, intercept = objective.model(vector)
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
    return lambda objective, vector: -objective.mean_loss(vector, rows, weight)


# SGD -----------------------------------------------------------------------------------


def _generator(estimator):
    seed = check_random_state(estimator.random_state).randint(np.iinfo(np.int32).max)
    return np.random.default_rng(seed)


def _sgd_scaling(estimator):
    # A learning rate given as a number is meant for the features as they are.
    return None if estimator.learning_rate_init == "auto" else Scaling.unscaled()


def _sgd_rate(estimator, objective, rng):
    if estimator.learning_rate_init == "auto":
        return _sgd.stable_rate(objective, estimator.batch_size, rng)
    return estimator.learning_rate_init


def _schedule(estimator, learning_rate_init):
    return _sgd.Schedule(
        learning_rate=estimator.learning_rate,
        learning_rate_init=learning_rate_init,
        momentum=estimator.momentum,
        batch_size=estimator.batch_size,
        tol=estimator.tol,
        n_iter_no_change=estimator.n_iter_no_change,
        shuffle=estimator.shuffle,
    )


def _steps(estimator, objective, state, rng):
    return _Steps(
        estimator.learning_rate_init,
        state.rate,
        state.velocity,
        state.n_steps,
        objective.scaling,
        rng,
    )
