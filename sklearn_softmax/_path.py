r"""Regularisation paths: models along C, each fitted from the one before.

The rows are the same for all of them. What is known of them is found once: the moments of the
features, and the principal components where rows are fewer than features.
"""

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, validate_params

from ._arrays.portable import is_dask, memory_errors_told, on_device_of, to_numpy
from ._classifier import SoftmaxRegressionClassifier
from ._fitting import batch_objective, initial_coefficients, solve, start_vector
from ._predictor import snapshot
from ._rows.blas_threads import BlasRestored
from ._validation import check_training_data, refused_if_not_finite

# The first penalty is the smallest that leaves all coefficients zero, made larger by this share.
_MARGIN = 1e-9
# With less L1 than this in the penalty, the first C is chosen as if there were as much.
_LEAST_L1_RATIO = 1e-3
# As many fits that have not converged are named in a warning.
_NAMED = 3
# The logarithm of a probability that counts as 0.
_LEAST_LOG = -700.0


@dataclass(frozen=True)
class SoftmaxPath:
    """Models along C, as :func:`softmax_path` returns them.

    Attributes
    ----------
    Cs : ndarray of shape (n_Cs,)
        Inverses of the strength of the regularisation, in ascending order.
    coefs : ndarray of shape (n_Cs, n_outputs, n_features)
        Coefficients; ``n_outputs`` is 1 for two classes, else the number of classes.
    intercepts : ndarray of shape (n_Cs, n_outputs)
        Intercepts.
    classes : ndarray of shape (n_classes,)
        The class labels, sorted.
    objectives : ndarray of shape (n_Cs,)
        The penalised mean cross-entropy that each fit has reached, in nats.
    duality_gaps : ndarray of shape (n_Cs,)
        Upper bounds of how far they are above their minima, in nats; ``np.inf`` at ``C=np.inf``.
    n_nonzero : ndarray of int of shape (n_Cs,)
        Number of coefficients that are not zero.
    n_iter : ndarray of int of shape (n_Cs,)
        Iterations of each fit.
    reasons : list of str
        Why each fit has ended: "converged", "max_iter", "precision" where rounding errors hide
        any further decrease, or "digits" where the coefficients are so large that rounding them
        shifts the logits. All but the first are warned of.
    """

    Cs: np.ndarray
    coefs: np.ndarray
    intercepts: np.ndarray
    classes: np.ndarray
    objectives: np.ndarray
    duality_gaps: np.ndarray
    n_nonzero: np.ndarray
    n_iter: np.ndarray
    reasons: list


@validate_params(
    {
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "eps": [Interval(Real, 0, 1, closed="neither")],
    },
    prefer_skip_nested_validation=True,
)
def softmax_path(
    X,
    y,
    *,
    Cs=30,
    eps=1e-3,
    l1_ratio=0.0,
    fit_intercept=True,
    class_weight=None,
    label_smoothing=0.0,
    sample_weight=None,
    solver="auto",
    max_iter=1000,
    tol=1e-4,
    n_jobs=None,
    device=None,
):
    r"""Fit softmax regression along a path of penalties.

    Each model is that of :class:`SoftmaxRegressionClassifier` with the same parameters, to
    ``tol``. It starts from the model before it, whose penalty is a little stronger.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows of features, in memory.
    y : array-like of shape (n_samples,) or (n_samples, n_classes)
        Class labels, or a distribution over the classes for each row.
    Cs : int or array-like of shape (n_Cs,), default=30
        The values of C, in (0, inf]; they are fitted in ascending order. A number asks for that
        many, evenly spaced on a logarithmic scale. The smallest is
        :math:`\rho / \max |g|` for the ``l1_ratio`` :math:`\rho`, with the gradient
        :math:`g = X^\top (p - y)` by the coefficients where these are zero and the intercepts
        optimal. That is the smallest penalty with an optimum where all coefficients are zero. For
        :math:`\rho < 0.001`, where there is none for L2, the rule takes 0.001 for :math:`\rho`.
        The largest C is ``1 / eps`` times the smallest.
    eps : float, default=1e-3
        Smallest C divided by the largest, in (0, 1), where ``Cs`` is a number.
    l1_ratio, fit_intercept, class_weight, label_smoothing
        As for :class:`SoftmaxRegressionClassifier`.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights, not negative.
    solver : {"auto", "lbfgs", "coordinate_descent"}, default="auto"
        As for :class:`SoftmaxRegressionClassifier`.
    max_iter : int, default=1000
        Largest number of iterations for each C.
    tol, n_jobs, device
        As for :class:`SoftmaxRegressionClassifier`.

    Returns
    -------
    SoftmaxPath
        Coefficients, intercepts, duality gaps, numbers of coefficients that are not zero.

    See Also
    --------
    SoftmaxRegressionClassifierCV : Chooses C by cross-validation.
    sklearn.linear_model.enet_path : The same for least squares.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_softmax import softmax_path
    >>> X, y = load_iris(return_X_y=True)
    >>> path = softmax_path(X, y, Cs=4, l1_ratio=1.0)
    >>> path.Cs.round(3)
    array([0.009, 0.087, 0.871, 8.711])
    >>> path.n_nonzero
    array([0, 2, 4, 6])
    """
    if solver == "sgd":
        raise ValueError(
            "solver must be 'auto', 'lbfgs' or 'coordinate_descent' for a path; got 'sgd', whose "
            "models are not optimal enough to follow one."
        )
    estimator = SoftmaxRegressionClassifier(
        l1_ratio=l1_ratio,
        fit_intercept=fit_intercept,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        solver=solver,
        max_iter=max_iter,
        tol=tol,
        n_jobs=n_jobs,
        device=device,
    )
    estimator._validate_params()
    refuse_dask(X, "softmax_path")
    with BlasRestored(), memory_errors_told(), on_device_of(X):
        data = check_training_data(estimator, X, y, sample_weight)
        with data.rows(n_jobs) as blocks, refused_if_not_finite(estimator, data):
            if isinstance(Cs, Integral):
                Cs = path_Cs(estimator, blocks, n_Cs=Cs, eps=eps)
            Cs = np.sort(check_Cs(Cs))
            path = PenaltyPath(estimator, data, Penalties(estimator, blocks, Cs))
            fits = [path.fit(C, l1_ratio) for C in Cs]
    failed = [
        f"C={C:g} ({fitted.training.reason})"
        for C, fitted in zip(Cs, fits, strict=True)
        if fitted.training.reason != "converged"
    ]
    if failed:
        said = warning_of_ends(failed, len(fits), max_iter=max_iter, tol=tol)
        warnings.warn(said, ConvergenceWarning, stacklevel=3)
    coefs = np.stack([fitted.model["coef_"] for fitted in fits])
    return SoftmaxPath(
        Cs,
        coefs,
        np.stack([fitted.model["intercept_"] for fitted in fits]),
        data.classes,
        np.array([fitted.training.state.loss for fitted in fits]),
        np.array([fitted.duality_gap for fitted in fits]),
        np.count_nonzero(coefs, axis=(1, 2)),
        np.array([fitted.training.state.n_iter for fitted in fits]),
        [fitted.training.reason for fitted in fits],
    )


def refuse_dask(X, name):
    """Raise an error if X is a Dask collection."""
    if is_dask(X):
        raise ValueError(
            f"{name} needs X in this process: X must not be a Dask collection. Call its compute(), "
            "or fit SoftmaxRegressionClassifier for each C."
        )


def warning_of_ends(failed, n_fits, *, max_iter, tol):
    """Return what is to be said of fits that have not converged.

    Parameters
    ----------
    failed : list of str
        Which they are, and why.
    n_fits : int
        Of how many.
    max_iter, tol
        As for the estimator.
    """
    more = ", ..." if len(failed) > _NAMED else ""
    return (
        f"{len(failed)} of {n_fits} fits did not converge: {'; '.join(failed[:_NAMED])}{more}. "
        f"Where the reason is max_iter, increase max_iter={max_iter} or tol={tol:g}. "
        "Otherwise rounding errors are in the way: scale the features, pass X as float64, or "
        "leave out the largest values of C."
    )


def check_Cs(Cs):
    """Return values of C as an array, or raise an error."""
    values = as_list_of_numbers(Cs)
    if values is None:
        raise ValueError(f"Cs must be an integer, or one number at least in a list; got {Cs!r}.")
    if not (values > 0).all():
        raise ValueError(f"Cs must be numbers in (0, inf]; got {values[~(values > 0)][0]}.")
    return values


def as_list_of_numbers(values):
    """Return one number at least as an array of floats; None where that is something else."""
    values = np.asarray(values)
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iuf":
        return None
    return values.astype(np.float64)


def path_Cs(estimator, blocks, *, n_Cs, eps):
    """Return ``n_Cs`` values of C, from that where the coefficients leave zero, for some rows.

    The rule is in the docstring of :func:`softmax_path`.
    """
    at = snapshot(estimator)
    at.C, at.l1_ratio = 1.0, 1.0
    objective = batch_objective(at, blocks)
    n_outputs = objective.n_outputs
    intercept = np.zeros(n_outputs)
    if estimator.fit_intercept:
        with np.errstate(divide="ignore"):
            log_mean = np.maximum(np.log(objective.target_mean), _LEAST_LOG)
        intercept = log_mean[1:] - log_mean[:1] if n_outputs == 1 else log_mean
    vector = objective.parameters(np.zeros((n_outputs, objective.n_features)), intercept)
    _, gradient = objective.loss_gradient(vector)
    # (The gradient by the intercepts is 0 there, so centring has no part in it.)
    slope = to_numpy(objective.split(objective.unpack(gradient))[0] * objective.scaling.scale)
    largest = float(np.abs(slope).max()) * blocks.total_weight
    if not largest > 0:
        raise ValueError(
            "No feature of X is related to y, so no C can be chosen from them; pass Cs as numbers."
        )
    first = max(estimator.l1_ratio, _LEAST_L1_RATIO) / (largest * (1 + _MARGIN))
    return np.geomspace(first, first / eps, n_Cs) if n_Cs > 1 else np.array([first])


class Penalties:
    """Objectives of the same rows, one for each penalty.

    Parameters
    ----------
    estimator : SoftmaxRegressionClassifier
        Its parameters but ``C`` and ``l1_ratio``.
    blocks : RowBlocks
        The rows.
    Cs : ndarray
        All values of C there will be.
    """

    def __init__(self, estimator, blocks, Cs):
        self._estimator = estimator
        self._blocks = blocks
        self._largest_C = float(max((C for C in Cs if np.isfinite(C)), default=1.0))
        # Of all penalties that the same space of parameters is good for.
        self._objectives: dict = {}

    def at(self, C, l1_ratio):
        """Return which space of parameters a penalty is minimised in, and the objective."""
        # (NumPy's numbers do not multiply the arrays of every library.)
        C, l1_ratio = float(C), float(l1_ratio)
        # Without a penalty, or with L1, rows do not tell all of the coefficients.
        has_ridge_alone = l1_ratio == 0 and np.isfinite(C)
        if has_ridge_alone not in self._objectives:
            # How precise the products must be shows best with the weakest penalty.
            weakest = snapshot(self._estimator)
            weakest.C, weakest.l1_ratio = (self._largest_C if has_ridge_alone else np.inf), l1_ratio
            self._objectives[has_ridge_alone] = batch_objective(weakest, self._blocks)
        return has_ridge_alone, self._objectives[has_ridge_alone].with_penalty(C, l1_ratio)


class PenaltyPath:
    """Fits of the same rows with penalties one after another, each from the last.

    Parameters
    ----------
    estimator : SoftmaxRegressionClassifier
        Its parameters but ``C`` and ``l1_ratio``.
    data : TrainingData
        What is fitted.
    penalties : Penalties
        The objectives.
    """

    def __init__(self, estimator, data, penalties):
        self._estimator = estimator
        self._data = data
        self._penalties = penalties
        self.restart()

    def restart(self):
        """Have the next fit start from zero."""
        self._last: Any = None

    def start_from(self, coef, intercept):
        """Have the next fit start from a model."""
        self._last = None, None, None, _in_float64(coef, intercept)

    def fit(self, C, l1_ratio):
        """Return the :class:`~sklearn_softmax._fitting.Fitted` model at a penalty."""
        at = snapshot(self._estimator)
        at.C, at.l1_ratio = float(C), float(l1_ratio)
        space, objective = self._penalties.at(C, l1_ratio)
        fitted = solve(at, self._data, objective, self._start(space, objective))
        model = _in_float64(fitted.model["coef_"], fitted.model["intercept_"])
        self._last = space, objective, fitted.training.vector, model
        return fitted

    def _start(self, space, objective):
        """Return where to start: at the last fit, or at zero."""
        if self._last is None:
            zero = initial_coefficients(self._estimator, self._data, warm=False)
            return start_vector(objective, zero)
        last_space, other, vector, model = self._last
        if space != last_space or (other.l1 and not objective.l1):
            # (L1 leaves open what coefficients sum to over the classes.)
            return start_vector(objective, model)
        return objective.carried(vector, other)


def _in_float64(*parts):
    return tuple(part.astype(np.float64) for part in parts)
