r"""The metric that "auto" takes SGD's steps in, and the learning rate that they bear.

With all probabilities equal, where a model starts, the Hessian of the mean cross-entropy is
:math:`c \, E[z z^\top]` for every class, with :math:`c = 1/K` for K classes (1/4 for two). It
depends on the features alone, so few rows show it, and one small matrix undoes it for all
classes: the metric

.. math::
    M = (c \, E[z z^\top] + \lambda_2 D + \epsilon)^{-1} .

In it, collinear and badly scaled features train as fast as any. A product with M costs what
the batch does where there are as many features as rows in it; with more features, with
sparse rows, or with an L1 penalty the features are only scaled.

A stream's metric and rate are those of its running moments
(:mod:`sklearn_softmax._solvers.sgd_moments`).

The learning rate is a multiple of the inverse of the largest eigenvalue of the Hessian of a
batch, in that metric: the smaller the batch, the larger the eigenvalue and the smaller the rate.
With momentum it is also bounded by what the batches bear that momentum takes together.
"""

import math

import numpy as np

from .._arrays import native, portable
from .._objective.scaling import start_curvature

# More columns than this are not worth a metric.
METRIC_COLUMNS = 257
# Rows that show the curvature: the first, or any that are drawn first.
FIRST_ROWS = 8192
# Curvature that every feature is taken to have, relative to that of a scaled one: at least so
# much, and more where few rows leave it unsure.
_RIDGE = 1e-3
# A mean square below this is that of a scaled feature which the rows have not shown.
_SHOWN = 0.5
# Batches, the worst of which decides the learning rate; and its share of the inverse curvature:
# of a step, and of the steps together that momentum makes of a gradient. (Gradient descent bears
# 2 where curvature stays; that of the start is about the largest there is, and the rate falls.)
_RATE_BATCHES = 4
_RATE_SHARE = 0.5
_REACH_SHARE = 3.0
_POWER_ITERATIONS = 20


def has_metric(objective, *, is_sparse):
    """Return whether steps are taken in a metric, and not in the features' own scales."""
    return not (is_sparse or objective.l1 or objective.n_columns > METRIC_COLUMNS)


def second_moment(objective, index):
    """Return E[z z'] of scaled rows, and how many equal rows it is taken from.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its features.
    index : ndarray of int
        The rows; the first of them do.
    """
    block = objective.blocks.take(index[:FIRST_ROWS])
    rows = objective.rows.of_block(block)
    weighted = rows if block.weight is None else rows * block.weight[:, None]
    xp = portable.namespace(rows)
    weight = block.row_weights
    total = max(float(xp.sum(weight)), np.finfo(float).tiny)
    n_equal = total**2 / max(float(xp.sum(weight * weight)), np.finfo(float).tiny)
    # (Weights may be counts of rows.)
    return (rows.T @ weighted) / total, max(total, n_equal)


def metric_of(objective, moment, n_rows):
    """Return the metric M (n_columns, n_columns) for the second moment of ``n_rows`` rows."""
    curvature = start_curvature(objective.n_classes)
    xp = portable.namespace(moment)
    # A scaled feature has a mean square of 1. These rows may have missed a rare one: its steps
    # are no longer than those of others.
    shown = xp.linalg.diagonal(moment)
    lacking = xp.where(shown < _SHOWN, 1.0 - shown, xp.zeros_like(shown))
    ridge = max(_RIDGE, objective.n_columns / max(n_rows, 1.0))
    hessian = curvature * moment
    hessian += portable.diagonal_matrix(curvature * (lacking + ridge) + objective.l2_columns)
    metric = xp.linalg.inv(hessian)
    return 0.5 * (metric + metric.T)


def stable_rate(objective, metric, index, batch_size, momentum):
    """Return a learning rate for batches of ``batch_size`` of the rows at ``index``.

    ``momentum`` is the share of a step in the next.
    """
    batch = _largest_curvature(objective, metric, index, batch_size, _RATE_BATCHES)
    if not momentum:
        return _rate_for(batch, batch, momentum)
    # Momentum averages over so many batches; and makes steps so many times longer.
    n_rows = int(batch_size / (1.0 - momentum))
    together = _largest_curvature(objective, metric, index, n_rows, 1)
    return _rate_for(batch, together, momentum)


def expected_rate(objective, metric, running, scaling, batch_size, momentum):
    """Return the learning rate for batches of rows like those that have been seen.

    As :func:`stable_rate`, where there are too few rows at once to make batches of. The largest
    eigenvalue of a mean of n matrices is bounded, in expectation, by that of their mean and by
    their sizes (J. Tropp, "An introduction to matrix concentration inequalities", 2015, theorem
    6.6.1).

    Parameters
    ----------
    objective : SoftmaxObjective
    metric : ndarray or None
    running : RunningRows
        What the rows were like.
    scaling : Scaling
        That of the objective, in NumPy.
    batch_size, momentum
        As for :func:`stable_rate`.
    """
    curvature = start_curvature(objective.n_classes)
    size = curvature * float(running.mean_squares(scaling).sum() + objective.fit_intercept)
    largest = max(size, np.finfo(float).tiny)
    if metric is not None:
        moment = running.second_moment(scaling, fit_intercept=objective.fit_intercept)
        size = curvature * float(np.sum(portable.to_numpy(metric) * moment))
        largest = min(1.0, size)
    elif running.curvature:
        largest = min(largest, running.curvature)
    dimension = math.log(1.0 + objective.n_columns)

    def of_batch(n_rows):
        part = size * dimension / n_rows
        return max(largest + math.sqrt(2.0 * largest * part) + part / 3.0, np.finfo(float).tiny)

    n_equal = batch_size * running.equality
    return _rate_for(of_batch(n_equal), of_batch(n_equal / (1.0 - momentum)), momentum)


def chunk_curvature(objective, metric, index, schedule):
    """Return the largest curvature that a step on some rows meets, and that of them alone.

    The first is relative to the weight of a full batch, as steps are; the second to the rows'
    own.
    """
    curvature = start_curvature(objective.n_classes)
    size, blocks = schedule.batch_size, objective.blocks
    step = own = 0.0
    for start in range(0, min(len(index), size * _RATE_BATCHES), size):
        part = index[start : start + size]
        weights = blocks.take(part).row_weights
        weight = float(portable.namespace(weights).sum(weights))
        largest = curvature * _gram_norm(objective, metric, part)
        n_steps = max(1, int(weight / schedule.full_weight))
        step = max(step, largest / (n_steps * schedule.full_weight))
        own = max(own, largest / weight)
    return step, own


def bearable_rate(curvature, momentum):
    """Return the learning rate of a step that meets so much curvature."""
    return (_RATE_SHARE if momentum else _REACH_SHARE) / max(curvature, np.finfo(float).tiny)


def _rate_for(batch, together, momentum):
    """Return the rate for the curvature of a batch, and of those that momentum takes together."""
    if not momentum:
        return _REACH_SHARE / batch
    return min(_RATE_SHARE / batch, _REACH_SHARE * (1.0 - momentum) / together)


def _largest_curvature(objective, metric, index, n_rows, n_tries):
    """Return the largest eigenvalue of the Hessian on ``n_rows`` rows, the most of some tries."""
    n_rows = min(n_rows, FIRST_ROWS, len(index))
    starts = range(0, len(index) - n_rows + 1, n_rows)[:n_tries]
    curvature = start_curvature(objective.n_classes) / (n_rows * objective.blocks.mean_weight)
    largest = max(_gram_norm(objective, metric, index[i : i + n_rows]) for i in starts)
    return max(curvature * largest, np.finfo(float).tiny)


def _gram_norm(objective, metric, index):
    """Return the largest eigenvalue of M Z' S Z, for scaled rows Z and weights S."""
    block = objective.blocks.take(index)
    weight = block.row_weights
    if objective.blocks.is_sparse and metric is None and not _is_centred(objective.scaling):
        rows = native.divide_columns(block.X, objective.scaling.scale)
        one = float(objective.fit_intercept)  # its column, which is not stored
    else:
        rows, one = objective.rows.of_block(block), 0.0
    # (Of centred features the sum would be 0.)
    start = np.random.default_rng(0).standard_normal(rows.shape[1])
    vector, norm = rows @ portable.as_like(start, weight) + one, 0.0
    for _ in range(_POWER_ITERATIONS):
        combined = rows.T @ (weight * vector)
        total = one * (weight @ vector)
        vector = rows @ (combined if metric is None else metric @ combined) + one * total
        norm = math.sqrt(float(weight @ vector**2))
        if norm == 0.0:
            break
        vector /= norm
    return norm


def _is_centred(scaling):
    return not scaling.is_trivial and bool(portable.to_numpy(scaling.center).any())
