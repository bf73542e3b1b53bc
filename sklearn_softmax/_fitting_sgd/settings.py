"""What the estimator's parameters say of SGD by themselves."""

import numpy as np
from sklearn.utils import check_random_state

from .._arrays.portable import to_numpy
from .._objective.scaling import Scaling
from .._solvers import sgd
from .._solvers.sgd_metric import FIRST_ROWS
from .._solvers.sgd_steps import Momentum

# "auto" makes batches of so many rows that an epoch has at least so many, within bounds; and
# of few rows one batch, so that a weight is the same as repeating a row.
_BATCHES = 32
SMALLEST_BATCH, _LARGEST_BATCH = 32, 256
FEW_ROWS = 64
_MOMENTUM = 0.9
# A feature has left its scale where that has changed by this factor.
LATE_FACTOR = 10.0


def generator(estimator):
    """Return the generator that draws batches, from ``random_state``."""
    seed = check_random_state(estimator.random_state).randint(np.iinfo(np.int32).max)
    return np.random.default_rng(seed)


def seed_of(estimator):
    """Return ``random_state`` if that is a number, else None."""
    seed = estimator.random_state
    return int(seed) if isinstance(seed, int | np.integer) else None


def is_averaged(estimator):
    """Return whether the model is the average of the iterates."""
    if estimator.average == "auto":
        # An average of iterates with zeros in other places has few.
        return estimator.learning_rate_init == "auto" and not estimator.l1_ratio
    return bool(estimator.average)


def setting_of(estimator):
    """Return the parameters that decide what the parameters of steps mean."""
    return (
        estimator.learning_rate_init,
        bool(estimator.fit_intercept),
        bool(estimator.l1_ratio),
        is_averaged(estimator),
    )


def fine_setting_of(estimator, batch_size):
    """Return those that decide the metric and the learning rate."""
    return (estimator.C, estimator.l1_ratio, estimator.momentum, batch_size)


def scaling_of_rows(estimator, blocks):
    """Return the scaling of the features that a fit to some rows takes its steps in."""
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
    is_far = (ratio > LATE_FACTOR) | (ratio < 1 / LATE_FACTOR) | (apart > LATE_FACTOR)
    return whole if is_far.any() else head


def _scaling_of(blocks, *, center):
    if blocks.is_sparse:
        return Scaling.of_stored(blocks)
    return Scaling.of_rows(blocks, center=center)


def batch_size_of(estimator, n_rows):
    """Return how many rows a batch has in a fit to so many."""
    if estimator.batch_size != "auto":
        return estimator.batch_size
    if n_rows <= FEW_ROWS:
        return FEW_ROWS
    return int(min(max(n_rows // _BATCHES, SMALLEST_BATCH), _LARGEST_BATCH))


def given_schedule(estimator, *, is_sparse):
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


def first_epoch(estimator, schedule, vector):
    """Return the state of SGD before its first epoch."""
    return sgd.Epoch.start(vector, schedule.learning_rate_init, is_averaged=is_averaged(estimator))
