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

The learning rate is a multiple of the inverse of the largest eigenvalue of the Hessian of a
batch, in that metric: the smaller the batch, the larger the eigenvalue and the smaller the rate.
With momentum it is also bounded by what the batches bear that momentum takes together.
"""

import math

import numpy as np

from . import _arrays, _backend
from ._scaling import start_curvature

# More columns than this are not worth a metric.
_METRIC_COLUMNS = 257
# Rows that show the curvature: the first, or any that are drawn first.
FIRST_ROWS = 8192
# Curvature that every feature is taken to have, relative to that of a scaled one: at least so
# much, and more where few rows leave it unsure.
_RIDGE = 1e-3
# Batches, the worst of which decides the learning rate; and its share of the inverse curvature:
# of a step, and of the steps together that momentum makes of a gradient. (Gradient descent bears
# 2 where curvature stays; that of the start is about the largest there is, and the rate falls.)
_RATE_BATCHES = 4
_RATE_SHARE = 0.5
_REACH_SHARE = 3.0
_POWER_ITERATIONS = 20


def choose_metric(objective, index):
    """Return the metric M (n_columns, n_columns), or None for the features' own scales.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its features and penalty.
    index : ndarray of int
        The rows to take the curvature from.
    """
    blocks, n_columns = objective.blocks, objective.n_columns
    if blocks.is_sparse or objective.l1 or n_columns > _METRIC_COLUMNS:
        return None
    curvature = start_curvature(objective.n_classes)
    block = blocks.take(index[:FIRST_ROWS])
    rows = objective.rows.of_block(block)
    weighted = rows if block.weight is None else rows * block.weight[:, None]
    xp = _arrays.namespace(rows)
    total = max(float(xp.sum(block.row_weights)), np.finfo(float).tiny)
    hessian = curvature / total * (rows.T @ weighted)
    ridge = curvature * max(_RIDGE, n_columns / total)
    hessian += _arrays.diagonal_matrix(ridge + objective.l2_columns)
    metric = xp.linalg.inv(hessian)
    return 0.5 * (metric + metric.T)


def stable_rate(objective, metric, index, batch_size, momentum):
    """Return a learning rate for batches of ``batch_size`` of the rows at ``index``.

    ``momentum`` is the share of a step in the next.
    """
    batch = _largest_curvature(objective, metric, index, batch_size, _RATE_BATCHES)
    if not momentum:
        return _REACH_SHARE / batch
    # Momentum averages over so many batches; and makes steps so many times longer.
    reach = 1.0 / (1.0 - momentum)
    together = _largest_curvature(objective, metric, index, int(reach * batch_size), 1)
    return min(_RATE_SHARE / batch, _REACH_SHARE / (reach * together))


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
    if objective.blocks.is_sparse:
        rows = _backend.divide_columns(block.X, objective.scaling.scale)
        one = float(objective.fit_intercept)  # its column, which is not stored
    else:
        rows, one = objective.rows.of_block(block), 0.0
    # (Of centred features the sum would be 0.)
    start = np.random.default_rng(0).standard_normal(rows.shape[1])
    vector, norm = rows @ _arrays.as_like(start, weight) + one, 0.0
    for _ in range(_POWER_ITERATIONS):
        combined = rows.T @ (weight * vector)
        total = one * (weight @ vector)
        vector = rows @ (combined if metric is None else metric @ combined) + one * total
        norm = math.sqrt(float(weight @ vector**2))
        if norm == 0.0:
            break
        vector /= norm
    return norm
