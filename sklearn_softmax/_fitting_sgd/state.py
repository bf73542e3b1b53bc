"""What the next ``partial_fit`` goes on with."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._arrays.portable import to_numpy
from .._objective.scaling import Scaling
from .._solvers import sgd
from .._solvers.sgd_metric import has_metric, metric_of, second_moment
from .._solvers.sgd_moments import RunningRows
from .._solvers.sgd_rescaling import moved


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
            scaling=moved(self.scaling, move),
        )


def metric_of_rows(objective, order):
    """Return the metric that rows show, the second moment it is made from, and of how many rows."""
    if not has_metric(objective, is_sparse=objective.blocks.is_sparse):
        return None, None, 0.0
    moment, n_shown = second_moment(objective, order)
    return metric_of(objective, moment, n_shown), moment, n_shown


def running_rows(blocks, scaling, moment, n_shown):
    """Return what all rows were like, to go on from.

    ``moment`` and ``n_shown`` are as :func:`metric_of_rows` returns them.
    """
    return RunningRows.of_fit(
        scaling,
        blocks.n_weighted,
        blocks.total_weight,
        is_sparse=blocks.is_sparse,
        moment=None if moment is None else to_numpy(moment),
        moment_rows=n_shown,
    )


def digest(coef, intercept):
    """Return a short value that changes with the model."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (coef, intercept):
        values = values.toarray() if sp.issparse(values) else np.asarray(values)
        # (0.0 and -0.0 are the same: a sparse matrix keeps no sign of a zero.)
        digest.update((values.astype(np.float64) + 0.0).tobytes())
    return digest.digest()
