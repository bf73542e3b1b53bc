"""From parameters and checked data to a model: which objective, which solver, where it starts."""

import functools
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from . import _targets
from ._arrays.native import compiled_loops
from ._curvature.choice import Curvature
from ._curvature.pairs import PairCurvature
from ._fitting_sgd.chunk import SGDChunk
from ._fitting_sgd.fit import SGDFit
from ._fitting_sgd.messages import end_of_chunk, end_of_fit, warning_of_far_features
from ._fitting_sgd.state import Stream
from ._objective.duality_gap import duality_gap
from ._objective.linear import SoftmaxObjective
from ._objective.minibatches import MinibatchObjective
from ._objective.parameters import n_outputs
from ._objective.principal_components import row_span
from ._objective.small_table import TableObjective, is_small
from ._prediction import LARGEST_ROUNDING
from ._solvers import dual_ascent
from ._solvers.coordinate_descent import coordinate_descent
from ._solvers.lbfgs import Iterate, lbfgs
from ._solvers.training import Training, train

# From so many multiplications an evaluation on, Numba makes a fit much faster.
_NUMBA_WORK, _NUMBA_SPARSE_WORK = 200_000_000, 10_000_000


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
    solver : str
        Which solver it was.
    warnings : list of str
        What is to be said of how SGD has ended.
    """

    model: dict
    training: Training
    stream: Stream = field(default_factory=Stream)
    duality_gap: float = np.inf
    solver: str = "sgd"
    warnings: list = field(default_factory=list)


def initial_coefficients(estimator, data, *, warm):
    """Return (W, b) to start from: those of the estimator (``warm``), or zeros."""
    n_rows = n_outputs(len(data.classes))
    if not warm:
        return np.zeros((n_rows, data.n_features)), np.zeros(n_rows)
    coef = _checked_start(estimator, "coef_", (n_rows, data.n_features))
    return coef, _checked_start(estimator, "intercept_", (n_rows,))


def _checked_start(estimator, name, shape):
    """Return a fitted attribute, which may have been set by hand, in float64; or raise an error."""
    values = getattr(estimator, name)
    values = np.asarray(values.toarray() if sp.issparse(values) else values)
    if values.dtype.kind not in "biuf" or values.shape != shape:
        raise ValueError(
            f"{name} must be an array of numbers of shape {shape} to go on from; it has the shape "
            f"{values.shape} and the dtype {values.dtype}."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite to go on from; it holds NaN or infinity.")
    return values.astype(np.float64)


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
        if estimator.verbose and _gains_from_numba(blocks):
            print(
                f"[{type(estimator).__name__}] this fit would be faster with Numba: "
                'pip install "sklearn-softmax[fast]"'
            )
        solver = choose_solver(estimator, blocks)
        score = _set_rows_aside(estimator, data, blocks) if estimator.early_stopping else None
        if solver == "sgd":
            return _fit_by_sgd(estimator, data, blocks, start, score, observer)
        objective = batch_objective(estimator, blocks)
        vector = start_vector(objective, start)
        fitted = solve(estimator, data, objective, vector, score=score, observer=observer)
    fitted.stream = Stream(blocks.total_weight, blocks.n_weighted)
    return fitted


def _gains_from_numba(blocks):
    """Return whether Numba is missing where compiled loops would have much to do."""
    if not (blocks.is_local and blocks.is_numpy):
        return False
    least = _NUMBA_SPARSE_WORK if blocks.is_sparse else _NUMBA_WORK
    is_large = blocks.n_stored * blocks.n_classes >= least
    return is_large and compiled_loops().add_dense is None


def solve(estimator, data, objective, vector, *, score=None, observer=None):
    """Fit a model by L-BFGS or proximal Newton; within the context of the rows.

    Parameters
    ----------
    estimator, data, observer
        As for :func:`fit_all`.
    objective : SoftmaxObjective
        What is minimised: see :func:`batch_objective`.
    vector : ndarray
        Where to start: see :func:`start_vector`.
    score : callable or None
        ``score(objective, vector)`` is the score on validation rows.

    Returns
    -------
    Fitted
        Without a stream.
    """
    solver = choose_solver(estimator, objective.blocks)
    iterates_of = _lbfgs_iterates if solver == "lbfgs" else _descent_iterates
    iterates = iterates_of(estimator, objective, vector)
    training = _trained(estimator, data, objective, iterates, score, observer)
    return _fitted(data, objective, training, solver)


def _fit_by_sgd(estimator, data, blocks, start, score, observer):
    sgd = SGDFit(
        estimator, blocks, functools.partial(_objective, estimator, kind=MinibatchObjective), start
    )
    objective = sgd.objective
    training = _trained(estimator, data, objective, sgd.iterates, score, observer)
    is_warm = any(np.any(part) for part in start)
    first = objective.parameters(*start)
    training.vector, end = end_of_fit(
        estimator, objective, first, training.vector, is_warm=is_warm and score is None
    )
    said = [end, warning_of_far_features(estimator, blocks)]
    fitted = _fitted(data, objective, training, "sgd")
    fitted.warnings = [text for text in said if text]
    last = training.state.restored(training.vector)
    fitted.stream = sgd.stream(last, fitted.model["coef_"], fitted.model["intercept_"])
    return fitted


def _trained(estimator, data, objective, iterates, score, observer):
    """Return the training that a solver's iterates make."""
    if observer is not None:
        observer.watch(lambda vector: _model(objective, vector, data))
    return train(
        iterates,
        max_iter=estimator.max_iter,
        score=None if score is None else lambda vector: score(objective, vector),
        tol=estimator.tol,
        n_iter_no_change=estimator.n_iter_no_change,
        observer=observer,
    )


def _fitted(data, objective, training, solver):
    """Return what is published of a training."""
    model = _model(objective, training.vector, data)
    if _loses_digits(objective, model):
        training.reason = "digits"
    return Fitted(model, training, duality_gap=_gap_of(objective, training, model), solver=solver)


def start_vector(objective, start):
    """Return raw coefficients and intercepts as parameters for a solver to start from."""
    coef, intercept = start
    if not objective.l1 and objective.n_outputs > 1:
        # Steps keep what coefficients sum to over the classes; the optimum has it at 0.
        coef = coef - coef.mean(axis=0)
    return objective.parameters(coef, intercept)


def choose_solver(estimator, blocks):
    """Return the name of the solver for some rows, or raise an error where it cannot be had."""
    if estimator.solver in ("lbfgs", "sgd"):
        return estimator.solver
    has_l1 = estimator.l1_ratio > 0 and np.isfinite(estimator.C)
    is_at_hand = blocks.is_local and blocks.is_in_memory and blocks.is_numpy
    if has_l1 and is_at_hand:
        return "coordinate_descent"
    if estimator.solver == "auto":
        return "lbfgs"
    if not has_l1:
        raise ValueError(
            "solver='coordinate_descent' needs an L1 penalty: l1_ratio above 0 and a finite C; got "
            f"l1_ratio={estimator.l1_ratio!r} and C={estimator.C!r}. Use solver='auto' or 'lbfgs'."
        )
    raise ValueError(
        "solver='coordinate_descent' needs X as a NumPy array or a SciPy sparse matrix in this "
        f"process; got {type(blocks.X).__name__}. Use solver='auto' or 'lbfgs'."
    )


def _gap_of(objective, training, model):
    """Return the duality gap of a training's model, as it is published."""
    if model["coef_"].dtype == np.float32 and objective.blocks.is_numpy:
        # A gap may be smaller than what float32 shows, or than the rounding of coefficients.
        precise = objective.in_float64()
        return duality_gap(precise, precise.parameters(model["coef_"], model["intercept_"]))
    state = training.state
    if training.vector is not state.vector or not isinstance(state, Iterate):
        return duality_gap(objective, training.vector)
    if state.gap is not None:
        return state.gap
    known = {} if state.gradient is None else {"loss": state.loss, "gradient": state.gradient}
    return duality_gap(objective, training.vector, **known)


def fit_chunk(estimator, data, start, stream=None):
    """Take one epoch of SGD over a chunk of rows; parameters as for :func:`fit_all`.

    ``stream`` is that of the last chunk, or None.
    """
    with data.rows(estimator.n_jobs) as blocks:
        make_objective = functools.partial(_objective, estimator, kind=MinibatchObjective)
        chunk = SGDChunk(estimator, blocks, make_objective, start, stream or Stream())
        objective, state, losses = chunk.run()
        said = [end_of_chunk(estimator, losses), warning_of_far_features(estimator, blocks)]
    model = _model(objective, state.vector, data)
    return Fitted(
        model,
        Training(state, state.vector, [state.loss]),
        chunk.stream(model["coef_"], model["intercept_"]),
        warnings=[text for text in said if text],
    )


def batch_objective(estimator, blocks):
    """Return the objective, in the space that the rows span if that is a smaller one."""
    if estimator.l1_ratio == 0 and np.isfinite(estimator.C):
        span = row_span(blocks, center=estimator.fit_intercept, C=estimator.C)
        if span is not None:
            return _objective(estimator, span.blocks, span=span)
    return _objective(estimator, blocks, TableObjective if is_small(blocks) else SoftmaxObjective)


def _descent_iterates(estimator, objective, vector):
    """Yield the iterates of proximal Newton; where its Hessians become too large, of L-BFGS."""
    n_iter = 0
    if objective.l1:
        state = yield from coordinate_descent(
            objective,
            PairCurvature,
            vector,
            tol=estimator.tol,
            certificate=duality_gap,
            certificate_order=2 if objective.l2 else 1,
        )
        if state is None:
            return
        vector, n_iter = state.vector, state.n_iter
    yield from _lbfgs_iterates(estimator, objective, vector, n_iter)


def _lbfgs_iterates(estimator, objective, vector, n_iter=0):
    """Yield the iterates of L-BFGS, after those of what finds it a better start."""
    if dual_ascent.applies(objective) and not vector.any():
        state = yield from dual_ascent.ascend(objective, vector, tol=estimator.tol)
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

    Their dtype is that which X is computed in, or float64 where that has too few digits, as with
    features far from zero.
    """
    coef, intercept = objective.model(vector)
    model = {
        "coef_": np.ascontiguousarray(coef, dtype=data.dtype),
        "intercept_": np.array(intercept, dtype=data.dtype),
        "classes_": data.classes,
    }
    if _loses_digits(objective, model):
        model["coef_"] = np.ascontiguousarray(coef, dtype=np.float64)
        model["intercept_"] = np.array(intercept, dtype=np.float64)
    return model


def _loses_digits(objective, model):
    """Return whether the rounding of coefficients shifts logits by more than is harmless."""
    coef = model["coef_"]
    return objective.cancellation(coef) * np.finfo(coef.dtype).eps > LARGEST_ROUNDING


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
