"""What is to be said of how a fit, or a chunk of a stream, has ended."""

import numpy as np

from .._objective.scaling import far_features
from .._solvers.quadratic import steepest
from ..functional import entropy
from .settings import FEW_ROWS

# A fit that ends above its start, or no model, by more than this share of it and so many nats
# warns. (Where a class does not occur, no model of finite coefficients is as good as the least.)
_WORSE_SHARE, _WORSE_NATS = 1e-3, 5e-3
# A fit that has lowered the objective by less than this share of that of equally probable classes
# is asked whether it has learned anything.
_LITTLE = 0.02


def end_of_fit(estimator, objective, start, vector, *, is_warm):
    """Return the model to keep, and what is to be said of how the fit has ended, or None.

    Parameters
    ----------
    estimator : SoftmaxRegressionClassifier
    objective : SoftmaxObjective
    start, vector : ndarray
        The parameters that the fit began and ended with.
    is_warm : bool
        Whether the start was a model, which is kept if nothing better was found.
    """
    end, constant = objective.value_gradient(vector)[0], _constant_value(objective)
    begun = objective.value_gradient(start)[0] if is_warm else objective.uniform_loss
    lowest, what = min((begun, "the model that it started from"), (constant, "no coefficients"))
    message = None
    if abs(begun - end) <= _LITTLE * objective.uniform_loss:
        message = _warning_of_idleness(estimator, objective, vector, begun, end)
    if message is None and not end <= lowest * (1 + _WORSE_SHARE) + _WORSE_NATS:
        if estimator.learning_rate_init != "auto":
            why = (
                "the learning rate is too large, or the epochs are too few. Lower "
                "learning_rate_init, or leave it at 'auto', or increase max_iter."
            )
        else:
            order = "" if estimator.shuffle else "shuffle the rows, "
            why = f"{order}increase max_iter or batch_size, or take solver='lbfgs'."
            why = why[0].upper() + why[1:]
            why = f"the steps were too few, or the rows too unlike each other. {why}"
        message = (
            f"sgd ended at an objective of {end:.6g}, which is above that of {what}, "
            f"{lowest:.6g}: {why}"
        )
    return (start if is_warm and begun < end else vector), message


def _warning_of_idleness(estimator, objective, vector, begun, end):
    """Return what is to be said of a fit that has stayed where it began, or None.

    It is said where a single step down from its end would bring more than the whole fit has.
    """
    possible = _decrease_of_a_step(objective, vector)
    if possible <= max(begun - end, _WORSE_NATS):
        return None
    why = "Increase max_iter, or take solver='lbfgs'."
    if estimator.warmup_steps:
        why = "Lower warmup_steps, or increase max_iter."
    elif estimator.learning_rate_init != "auto":
        why = "Raise learning_rate_init, or leave it at 'auto'."
    return (
        f"sgd has learned next to nothing: it ended at an objective of {end:.6g}, from "
        f"{begun:.6g}, and one step of gradient descent would lower that by {possible:.3g}. {why}"
    )


def _decrease_of_a_step(objective, vector):
    """Return by how much a step down lowers the objective.

    Each column's step is as long as its curvature allows at most, and all of them as long as the
    slope at its end tells.
    """
    loss, gradient = objective.value_gradient(vector)
    l1 = objective.l1_weights if objective.l1 else 0.0 * vector
    down = steepest(vector, gradient, l1)
    step = objective.pack(objective.unpack(down) / objective.largest_curvature)
    slope = float(down @ step)
    if not slope > 0:
        return 0.0
    bend = float((gradient - objective.loss_gradient(vector - step)[1]) @ step)
    length = min(slope / bend, 1.0) if bend > 0 else 1.0
    return loss - objective.value_gradient(vector - length * step)[0]


def _constant_value(objective):
    """Return the least objective of a model without coefficients."""
    if not objective.fit_intercept:
        return objective.uniform_loss
    # The probabilities are then the classes' shares.
    return float(entropy(np.maximum(objective.target_mean, 0.0)))


def warning_of_far_features(estimator, blocks):
    """Return what is to be said of sparse features that SGD cannot learn from, or None."""
    is_auto = estimator.learning_rate_init == "auto"
    if not (is_auto and blocks.is_sparse and blocks.n_weighted >= FEW_ROWS):
        return None
    far = far_features(blocks)
    if not len(far):
        return None
    return (
        f"SGD does not centre sparse features, and feature {far[0]} is far from zero in nearly all "
        f"rows, as are {len(far) - 1} others: it will learn little from them. Centre them, pass X "
        "as a dense array, or take solver='lbfgs'."
    )


def end_of_chunk(estimator, losses):
    """Return what is to be said of a chunk: why it has made the model worse; or None."""
    before, after, limit = losses
    if after <= limit:
        return None
    why = (
        "the learning rate is too large. Lower learning_rate_init, or leave it at 'auto'."
        if estimator.learning_rate_init != "auto"
        else "no learning rate was low enough. Pass more rows at once, or scale the features."
    )
    return (
        f"partial_fit has left a mean loss of {after:.6g} on these rows, which was {before:.6g} "
        f"before: {why}"
    )
