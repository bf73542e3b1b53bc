r"""Softmax and cross-entropy with their derivatives, on any array library.

Notation, for one row of logits :math:`o \in \mathbb{R}^q` and a target distribution
:math:`y` over the :math:`q` classes:

.. math::
    p_k = \mathrm{softmax}(o)_k = \frac{e^{o_k}}{\sum_l e^{o_l}}, \qquad
    \ell(o, y) = -\sum_k y_k \log p_k = \log \sum_l e^{o_l} - \sum_k y_k o_k .

The loss is taken from the logits by log-sum-exp [1]_, never from probabilities, which underflow;
label smoothing [2]_ mixes :math:`y` with the uniform distribution.
Its derivatives with respect to the logits are

.. math::
    \nabla \ell = p - y, \qquad \nabla^2 \ell = \operatorname{diag}(p) - p p^\top ,

where the second is also the Jacobian of softmax. Every function takes the ``axis`` that holds
the classes, and arrays of any library that follows the Python array API standard (tested with
NumPy, PyTorch and array-api-strict); the result is of the same library, dtype and device.

References
----------
.. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
   softmax functions", IMA Journal of Numerical Analysis 41 (2021).
.. [2] C. Szegedy et al., "Rethinking the Inception architecture for computer vision",
   CVPR (2016), section 7 (label smoothing).
"""

import math
from typing import Any, Literal

from array_api_compat import size

from ._arrays import native
from ._arrays.portable import namespace

__all__ = [
    "cross_entropy",
    "cross_entropy_gradient",
    "cross_entropy_hessp",
    "cross_entropy_loss_gradient",
    "entropy",
    "kl_divergence",
    "log_softmax",
    "logsumexp",
    "softmax",
    "softmax_jacobian",
]

Reduction = Literal["mean", "sum", "none"]
Unit = Literal["nats", "bits"]


def logsumexp(logits: Any, *, axis: int = -1) -> Any:
    r"""Compute :math:`\log \sum_k e^{o_k}` without overflow or underflow.

    The largest logit is taken out first:
    :math:`\max_l o_l + \log \sum_k e^{o_k - \max_l o_l}` [1]_.

    Parameters
    ----------
    logits : array of floats
        Logits, with the classes along ``axis``.
    axis : int, default=-1
        The axis of the classes.

    Returns
    -------
    array
        Shape of ``logits`` without ``axis``.

    References
    ----------
    .. [1] Blanchard, Higham & Higham (2021), equation (1.3).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import logsumexp
    >>> round(float(logsumexp(np.array([1e4, 1e4]))) - 1e4, 6)
    0.693147
    """
    xp = namespace(logits)
    largest = xp.max(logits, axis=axis, keepdims=True)
    total = xp.sum(xp.exp(logits - largest), axis=axis)
    return xp.squeeze(largest, axis=axis) + xp.log(total)


def softmax(
    logits: Any, *, temperature: float = 1.0, axis: int = -1, overwrite_logits: bool = False
) -> Any:
    r"""Compute :math:`p_k = e^{o_k / T} / \sum_l e^{o_l / T}`.

    Parameters
    ----------
    logits : array of floats
        Logits, with the classes along ``axis``.
    temperature : float, default=1.0
        The temperature :math:`T`, above 0, by which the logits are divided. Above 1 the
        probabilities are more alike; below 1 the largest stands out more. The most probable class
        stays the same.
    axis : int, default=-1
        The axis of the classes.
    overwrite_logits : bool, default=False
        Whether ``logits`` may be used as scratch space, which saves allocations.

    Returns
    -------
    array
        Probabilities in the shape of ``logits``; they sum to 1 along ``axis``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import softmax
    >>> logits = np.array([0.0, np.log(3.0)])
    >>> softmax(logits).round(6)
    array([0.25, 0.75])
    >>> softmax(logits, temperature=0.5).round(6)
    array([0.1, 0.9])
    """
    xp = namespace(logits)
    shifted = _tempered(_shift(logits, axis, overwrite_logits, xp), temperature)
    proba = native.exp_inplace(shifted, xp)
    proba /= xp.sum(proba, axis=axis, keepdims=True)
    return proba


def log_softmax(logits: Any, *, temperature: float = 1.0, axis: int = -1) -> Any:
    r"""Compute :math:`\log p_k = o_k - \log \sum_l e^{o_l}`.

    Finite also where the probability itself underflows to zero.

    Parameters
    ----------
    logits : array of floats
        Logits, with the classes along ``axis``.
    temperature : float, default=1.0
        Divides the logits, as in :func:`softmax`.
    axis : int, default=-1
        The axis of the classes.

    Returns
    -------
    array
        Log-probabilities in the shape of ``logits``, in nats.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import log_softmax
    >>> log_softmax(np.array([0.0, 1e4], dtype=np.float32))
    array([-10000.,      0.], dtype=float32)
    """
    xp = namespace(logits)
    shifted = _tempered(_shift(logits, axis, False, xp), temperature)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


def cross_entropy(
    logits: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
) -> Any:
    r"""Compute the cross-entropy :math:`\log\sum_l e^{o_l} - \sum_k y_k o_k`, in nats.

    Parameters
    ----------
    logits : array of floats
        Logits, with the classes along ``axis``. Probabilities are refused: see below.
    y : array
        Either class labels: integers in ``[0, n_classes)`` of the shape of ``logits`` without
        ``axis``; or class probabilities of the shape of ``logits``, which sum to 1 along
        ``axis``.
    sample_weight : array or None, default=None
        A weight for each row (the shape of ``logits`` without ``axis``).
    label_smoothing : float, default=0.0
        Replace :math:`y` by :math:`(1 - \varepsilon) y + \varepsilon / q` [1]_.
    axis : int, default=-1
        The axis of the classes.
    reduction : {"mean", "sum", "none"}, default="mean"
        The (weighted) mean over rows, their (weighted) sum, or one (weighted) loss per row.

    Returns
    -------
    array
        The loss; zero-dimensional unless ``reduction="none"``.

    Raises
    ------
    ValueError
        If every row of ``logits`` is a probability distribution. Then they are most likely
        probabilities, and taking their softmax once more would give a wrong loss in silence. If you
        have probabilities only, pass their logarithms, which are logits.

    References
    ----------
    .. [1] Szegedy et al. (2016), section 7.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import cross_entropy
    >>> logits = np.array([[2.0, 0.0], [0.0, 2.0]])
    >>> round(float(cross_entropy(logits, np.array([0, 0]))), 6)
    1.126928
    >>> soft = np.array([[0.9, 0.1], [0.5, 0.5]])
    >>> round(float(cross_entropy(logits, soft)), 6)
    0.726928
    """
    xp = namespace(logits, y)
    _refuse_probabilities(logits, axis, xp)
    return _cross_entropy(
        logits,
        y,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        axis=axis,
        reduction=reduction,
    )


def _cross_entropy(
    logits, y, *, sample_weight=None, label_smoothing=0.0, axis=-1, reduction="mean"
):
    """Compute :func:`cross_entropy` of what are logits for sure."""
    xp = namespace(logits, y)
    shifted = _shift(logits, axis, False, xp)
    target_logit = _target_logit(shifted, y, label_smoothing, axis, xp)
    losses = xp.log(xp.sum(native.exp_inplace(shifted, xp), axis=axis)) - target_logit
    if sample_weight is not None:
        sample_weight = xp.astype(sample_weight, logits.dtype, copy=False)
        losses *= sample_weight
    return _reduce(losses, sample_weight, reduction, xp)


def cross_entropy_gradient(
    logits: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
) -> Any:
    r"""Compute the gradient of :func:`cross_entropy`, :math:`\mathrm{softmax}(o) - y`.

    Parameters
    ----------
    logits, y, sample_weight, label_smoothing, axis
        As for :func:`cross_entropy`.
    reduction : {"mean", "sum", "none"}, default="mean"
        Which value the gradient is of. "sum" and "none" have the same gradient.

    Returns
    -------
    array
        The gradient with respect to ``logits``, in its shape.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import cross_entropy_gradient
    >>> cross_entropy_gradient(np.zeros((1, 4)), np.array([2]))
    array([[ 0.25,  0.25, -0.75,  0.25]])
    """
    _refuse_probabilities(logits, axis, namespace(logits, y))
    return cross_entropy_loss_gradient(
        logits,
        y,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        axis=axis,
        reduction=reduction,
    )[1]


def cross_entropy_loss_gradient(
    logits: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
    overwrite_logits: bool = False,
) -> tuple[Any, Any]:
    """Compute :func:`cross_entropy` and its gradient in one pass over the logits.

    It is what a solver calls many times, and does not look whether the logits are probabilities.

    Parameters
    ----------
    logits, y, sample_weight, label_smoothing, axis, reduction
        As for :func:`cross_entropy`.
    overwrite_logits : bool, default=False
        Whether ``logits`` may be used as scratch space, which saves allocations.

    Returns
    -------
    loss : array
        As from :func:`cross_entropy`.
    gradient : array
        As from :func:`cross_entropy_gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import cross_entropy_loss_gradient
    >>> loss, gradient = cross_entropy_loss_gradient(np.zeros((1, 2)), np.array([1]))
    >>> round(float(loss), 6)
    0.693147
    >>> gradient
    array([[ 0.5, -0.5]])
    """
    xp = namespace(logits, y)
    n_classes = logits.shape[axis]
    shifted = _shift(logits, axis, overwrite_logits, xp)
    target_logit = _target_logit(shifted, y, label_smoothing, axis, xp)

    gradient = native.exp_inplace(shifted, xp)
    total = xp.sum(gradient, axis=axis, keepdims=True)
    gradient /= total
    losses = xp.log(xp.squeeze(total, axis=axis)) - target_logit

    keep = 1.0 - label_smoothing
    if label_smoothing:
        gradient -= label_smoothing / n_classes
    if _is_labels(logits, y):
        gradient = native.add_at_labels(gradient, y, -keep, axis=axis, xp=xp)
    else:
        gradient -= y if keep == 1.0 else keep * y

    if sample_weight is not None:
        sample_weight = xp.astype(sample_weight, logits.dtype, copy=False)
        losses *= sample_weight
        gradient *= xp.expand_dims(sample_weight, axis=axis)
    loss = _reduce(losses, sample_weight, reduction, xp)
    if reduction == "mean":
        gradient /= _total_weight(losses, sample_weight, xp)
    return loss, gradient


def softmax_jacobian(proba: Any, *, axis: int = -1) -> Any:
    r"""Compute the Jacobian of softmax, :math:`\operatorname{diag}(p) - p p^\top`.

    It is also the Hessian of the cross-entropy with respect to the logits, for any target.
    For many classes prefer :func:`cross_entropy_hessp`, which needs no matrix.

    Parameters
    ----------
    proba : array of floats
        Probabilities, as from :func:`softmax`.
    axis : int, default=-1
        The axis of the classes.

    Returns
    -------
    array
        Shape of ``proba`` with ``axis`` moved to the end and doubled:
        ``(..., n_classes, n_classes)``. Symmetric, positive semi-definite, rows sum to 0.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import softmax_jacobian
    >>> softmax_jacobian(np.array([0.5, 0.5]))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    xp = namespace(proba)
    proba = xp.moveaxis(proba, axis, -1)
    column, row = xp.expand_dims(proba, axis=-1), xp.expand_dims(proba, axis=-2)
    identity = xp.eye(proba.shape[-1], dtype=proba.dtype, device=proba.device)
    return column * (identity - row)


def cross_entropy_hessp(proba: Any, vector: Any, *, axis: int = -1) -> Any:
    r"""Compute the Hessian-vector product :math:`(\operatorname{diag}(p) - p p^\top) v`.

    Equal to :math:`p \odot (v - p^\top v)`: linear in the number of classes.

    Parameters
    ----------
    proba : array of floats
        Probabilities, as from :func:`softmax`.
    vector : array of floats
        A direction in the space of the logits, in the shape of ``proba``.
    axis : int, default=-1
        The axis of the classes.

    Returns
    -------
    array
        The product, in the shape of ``proba``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import cross_entropy_hessp
    >>> cross_entropy_hessp(np.array([0.5, 0.5]), np.array([1.0, -1.0]))
    array([ 0.5, -0.5])
    """
    xp = namespace(proba, vector)
    return proba * (vector - xp.sum(proba * vector, axis=axis, keepdims=True))


def entropy(proba: Any, *, axis: int = -1, unit: Unit = "nats") -> Any:
    r"""Compute the entropy :math:`-\sum_k p_k \log p_k` of each distribution.

    It is the least cross-entropy that any prediction can have on targets drawn from ``proba``,
    reached by predicting ``proba`` itself.

    Parameters
    ----------
    proba : array of floats
        Probabilities, with the classes along ``axis``. :math:`0 \log 0` counts as 0.
    axis : int, default=-1
        The axis of the classes.
    unit : {"nats", "bits"}, default="nats"
        Natural logarithm, or logarithm to the base 2.

    Returns
    -------
    array
        Shape of ``proba`` without ``axis``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import entropy
    >>> float(entropy(np.full(8, 1 / 8), unit="bits"))
    3.0
    """
    _check_unit(unit)
    xp = namespace(proba)
    one = xp.ones((), dtype=proba.dtype, device=proba.device)
    nats = -xp.sum(proba * xp.log(xp.where(proba > 0, proba, one)), axis=axis)
    return nats / math.log(2.0) if unit == "bits" else nats


def kl_divergence(logits: Any, y: Any, *, axis: int = -1, unit: Unit = "nats") -> Any:
    r"""Compute the Kullback-Leibler divergence :math:`\sum_k y_k \log (y_k / p_k)` of each row.

    It is the part of the cross-entropy that a better prediction could save: the cross-entropy
    between the target and :math:`p = \mathrm{softmax}(o)`, minus the entropy of the target. It is
    0 where both agree, and never negative.

    Parameters
    ----------
    logits : array of floats
        Logits of the prediction, with the classes along ``axis``. The logarithms of probabilities
        are logits.
    y : array of floats
        Target distributions, in the shape of ``logits``.
    axis : int, default=-1
        The axis of the classes.
    unit : {"nats", "bits"}, default="nats"
        Natural logarithm, or logarithm to the base 2.

    Returns
    -------
    array
        Shape of ``logits`` without ``axis``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.functional import kl_divergence
    >>> prediction = np.log(np.array([0.5, 0.25, 0.25]))
    >>> target = np.array([1.0, 0.0, 0.0])
    >>> round(float(kl_divergence(prediction, target, unit="bits")), 6)
    1.0
    """
    _check_unit(unit)
    xp = namespace(logits, y)
    _refuse_probabilities(logits, axis, xp)
    if y.shape != logits.shape:
        raise ValueError(
            f"y must be distributions in the shape of logits, {tuple(logits.shape)}; its shape is "
            f"{tuple(y.shape)}. For labels the divergence is the cross-entropy."
        )
    one = xp.ones((), dtype=y.dtype, device=y.device)
    zero = xp.zeros((), dtype=y.dtype, device=y.device)
    # (Where y is 0 the logit may be minus infinity.)
    gaps = xp.log(xp.where(y > 0, y, one)) - xp.where(y > 0, log_softmax(logits, axis=axis), zero)
    nats = xp.sum(y * gaps, axis=axis)
    return nats / math.log(2.0) if unit == "bits" else nats


def _refuse_probabilities(logits, axis, xp):
    """Raise an error if all rows are distributions, which logits are only by chance."""
    if not size(logits) or not xp.isdtype(logits.dtype, "real floating"):
        return
    sums = xp.sum(logits, axis=axis)
    tolerance = 8 * logits.shape[axis] * xp.finfo(logits.dtype).eps
    if bool(xp.all(logits >= 0)) and bool(xp.all(xp.abs(sums - 1) <= tolerance)):
        raise ValueError(
            "logits look like probabilities: no entry is negative, and each row sums to 1. The "
            "loss is computed from logits, since probabilities lose digits and underflow to 0. "
            "Pass the logits (decision_function, or predict_log_proba), or the logarithms of the "
            "probabilities. If they are logits indeed, subtract 1 from all of them: that changes "
            "no result."
        )


def _check_unit(unit):
    if unit not in ("nats", "bits"):
        raise ValueError(f"unit must be 'nats' or 'bits', got {unit!r}.")


def _tempered(shifted, temperature):
    """Return logits, already less their maximum, divided by a temperature."""
    if temperature == 1.0:
        return shifted
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a finite number above 0, got {temperature!r}.")
    return shifted / temperature


def _shift(logits, axis, overwrite, xp):
    """Return the logits less their maximum, over ``logits`` where allowed."""
    largest = xp.max(logits, axis=axis, keepdims=True)
    if not overwrite:
        return logits - largest
    logits -= largest
    return logits


def _is_labels(logits, y):
    return y.ndim == logits.ndim - 1


def _target_logit(logits, y, label_smoothing, axis, xp):
    """Return sum_k y_k o_k for the smoothed target."""
    if _is_labels(logits, y):
        target_logit = native.take_labels(logits, y, axis=axis, xp=xp)
    else:
        target_logit = xp.sum(y * logits, axis=axis)
    if label_smoothing:
        uniform = xp.mean(logits, axis=axis)
        target_logit = (1.0 - label_smoothing) * target_logit + label_smoothing * uniform
    return target_logit


def _total_weight(losses, sample_weight, xp):
    return size(losses) if sample_weight is None else xp.sum(sample_weight)


def _reduce(losses, sample_weight, reduction, xp):
    if reduction == "none":
        return losses
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}.")
    # float32 losses are summed in float64: a sum over many rows outgrows seven digits.
    total = xp.sum(losses, dtype=xp.float64)
    if reduction == "mean":
        total = total / _total_weight(losses, sample_weight, xp)
    return total
