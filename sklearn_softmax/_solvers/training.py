"""The loop around a solver: what is recorded, who is told, and when it ends."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._rows.blas_threads import uphold_limit
from .progress import Progress


@dataclass
class Training:
    """What came of a solver's iterations.

    Attributes
    ----------
    state : Iterate or Epoch
        The solver's last state.
    vector : ndarray
        The parameters to keep: the last, or with validation the best.
    loss_curve : list of float
        The objective after each iteration.
    validation_scores : list of float
        The score of the validation rows after each iteration, if there are any.
    reason : {"converged", "precision", "digits", "max_iter", "validation", "callback"}
        Why it ended; "digits" where the model that it found cannot be published.
    """

    state: Any
    vector: np.ndarray
    loss_curve: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)
    reason: str = "max_iter"


def train(iterates, *, max_iter, score=None, tol=0.0, n_iter_no_change=5, observer=None):
    """Run a solver to its end, or to that of patience.

    Parameters
    ----------
    iterates : iterator
        Yields states with ``vector``, ``loss``, ``n_iter`` and ``status``; the first is the
        start.
    max_iter : int
        The largest number of iterations.
    score : callable or None
        ``score(vector)`` is the score on validation rows, the higher the better. When it has
        not risen by ``tol`` for ``n_iter_no_change`` iterations, training ends.
    observer : object or None
        ``observer.begin(state)`` is called before each iteration and
        ``observer.end(state, score)`` after it, with the score of the validation rows or None;
        training ends if that returns True.

    Returns
    -------
    Training
    """
    state = next(iterates)
    training = Training(state, state.vector)
    progress = Progress(tol, n_iter_no_change)
    if score is not None:
        # What it starts from is kept if nothing better comes.
        progress.best = -score(state.vector)
    while state.status == "running" and state.n_iter < max_iter:
        if observer is not None:
            observer.begin(state)
        uphold_limit()
        before, state = state, next(iterates)
        is_over = state is before  # the solver found no way on
        value = None if score is None or is_over else score(state.vector)
        stop = observer is not None and observer.end(state, value)
        if is_over:
            break
        training.state = state
        training.loss_curve.append(state.loss)
        if value is None:
            training.vector = state.vector
        else:
            training.validation_scores.append(value)
            best = progress.best
            stalled = progress.has_stalled(-value)
            if progress.best < best:
                training.vector = state.vector
            if stalled:
                training.reason = "validation"
                return training
        if stop:
            training.reason = "callback"
            return training
    if state.status != "running":
        training.reason = state.status
    return training


class Observer:
    """Tells scikit-learn's callbacks, and standard output if verbose, of each iteration.

    Parameters
    ----------
    estimator : estimator
        The one that is fitted.
    context : sklearn.callback.CallbackContext
        The context of the fit.
    data : dict
        ``X``, ``y`` and ``metadata`` for the callbacks.
    verbose : int
        Above 0, one line an iteration is printed.
    unit : {"iteration", "epoch"}
        What the solver calls an iteration.
    """

    def __init__(self, estimator, context, data, verbose, unit="iteration"):
        self._estimator = estimator
        self._context = context
        self._data = data
        self._verbose = verbose
        self._unit = unit
        self._has_callbacks = hasattr(estimator, "_skl_callbacks")

    def watch(self, model):
        """Say how a state becomes a model: ``model(vector)`` returns fitted attributes."""
        self._model = model

    def begin(self, state):
        """Announce an iteration."""
        if self._has_callbacks:
            self._task = self._context.subcontext(task_name="iteration")
            self._task.call_on_fit_task_begin(**self._arguments(state))

    def end(self, state, score=None):
        """Report an iteration; return whether a callback asks to stop."""
        if self._verbose:
            name = type(self._estimator).__name__
            count = getattr(state, "n_evaluations", None)
            evaluations = "" if count is None else f" ({count} evaluations)"
            validation = "" if score is None else f", validation score {score:.8g}"
            print(
                f"[{name}] {self._unit} {state.n_iter}{evaluations}: "
                f"loss {state.loss:.8g}{validation}"
            )
        return self._has_callbacks and self._task.call_on_fit_task_end(**self._arguments(state))

    def _arguments(self, state):
        return {
            "estimator": self._estimator,
            **self._data,
            "reconstruction_attributes": lambda: self._model(state.vector),
        }
