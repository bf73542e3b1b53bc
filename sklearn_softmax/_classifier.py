"""SoftmaxRegressionClassifier: parameters, what is published, warnings. No arithmetic."""

import functools
import warnings
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from . import _prediction
from ._arrays import in_memory, is_dask, is_foreign, memory_errors_told, on_device_of, to_numpy
from ._fitting import fit_all, fit_chunk, initial_coefficients
from ._training import Observer, Training
from ._validation import (
    check_features,
    check_finite,
    check_training_data,
    check_warm_start,
    mean_hits,
    refuse_for_streams,
    refused_if_not_finite,
)


class SoftmaxRegressionClassifier(
    CallbackSupportMixin, SparseCoefMixin, ClassifierMixin, BaseEstimator
):
    r"""Softmax (multinomial logistic) regression.

    Minimises the penalised cross-entropy of a linear model,

    .. math::
        \min_{W, b} \; \sum_i s_i \, \ell(W x_i + b, y_i)
        + \frac{1}{C} \left( \frac{1 - \rho}{2} \|W\|_2^2 + \rho \|W\|_1 \right), \qquad
        \ell(o, y) = \log \sum_k e^{o_k} - \sum_k y_k o_k ,

    with sample weights :math:`s_i` and the ``l1_ratio`` :math:`\rho`: the objective, and at
    the same parameters the optimum, of :class:`~sklearn.linear_model.LogisticRegression`. Raw,
    unscaled features are fine: solvers centre and scale them in the space of the parameters,
    which leaves X and the penalty as they are.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of regularization strength, in (0, inf]. Smaller values regularize more;
        ``np.inf`` not at all.
    l1_ratio : float, default=0.0
        Share of the L1 norm in the penalty, in [0, 1]. 0 is L2, 1 is L1, which makes
        coefficients exactly zero; between them is the elastic net.
    fit_intercept : bool, default=True
        Whether to add an intercept, which is not penalised.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, ``{label: weight}``, finite and not negative; those not named have
        weight 1. "balanced" weights each class by the inverse of its share of the rows. They
        multiply ``sample_weight``.
    label_smoothing : float, default=0.0
        Replace each target y by ``(1 - label_smoothing) * y + label_smoothing / n_classes``;
        in [0, 1).
    solver : {"lbfgs", "sgd"}, default="lbfgs"
        "lbfgs" uses all rows at each step and starts from the curvature of the problem: it
        finds the optimum, and fast. "sgd" uses ``batch_size`` rows at a time.
    max_iter : int, default=1000
        Largest number of iterations ("lbfgs") or epochs ("sgd"). Both end much earlier.
    tol : float, default=1e-4
        "lbfgs" ends when the relative error that is left, :math:`\sqrt{g^\top H g / f}` for
        gradient g, estimated inverse Hessian H and objective f, is no larger: then the
        objective is within about ``tol**2 / 2`` of its minimum, relatively. "sgd" ends when an
        epoch's loss falls by less than ``tol`` (in nats) for ``n_iter_no_change`` epochs.
    warm_start : bool, default=False
        Whether ``fit`` starts from the solution of the last call.
    random_state : int, RandomState instance or None, default=None
        Draws the order of the batches and the validation split.
    verbose : int, default=0
        Above 0, print a line for each iteration.
    n_jobs : int or None, default=None
        Number of threads. None takes as many as BLAS may use, -1 all cores.
    device : {"cpu", "cuda"} or None, default=None
        Where to compute. None follows X: arrays of CuPy or PyTorch stay where they are. "cuda"
        moves NumPy and SciPy X to a GPU by CuPy, and PyTorch's by PyTorch; "cpu" moves any X to
        NumPy. Fitted attributes are NumPy arrays always; predictions follow X.
    batch_size : int or "auto", default="auto"
        Rows of a minibatch. "auto" is 256, or fewer (32 at least) where that would make fewer
        than 32 batches an epoch; up to 64 rows are one batch.
    learning_rate : {"constant", "invscaling", "adaptive", "cosine"}, default="invscaling"
        How the learning rate goes on. "constant" keeps ``learning_rate_init``; "invscaling"
        divides it by ``(1 + n_steps / 100) ** (2 / 3)``; "adaptive" divides it by 5 whenever
        the loss has not fallen by ``tol`` for ``n_iter_no_change`` epochs, and ends when it is
        a thousandth of what it was; "cosine" lets it fall to 0 along half a cosine, over
        ``max_iter`` epochs.
    learning_rate_init : float or "auto", default="auto"
        The learning rate. A number is used as it is, on the features as they are. "auto"
        centres and scales the features (in the space of the parameters), undoes their
        correlations where they are not too many, and takes a rate that batches of this size
        bear, by the curvature of a first sample.
    warmup_steps : int, default=0
        For so many steps the learning rate rises to where it starts.
    momentum : float or "auto", default="auto"
        Share of the last step that is added to the next, in [0, 1). "auto" is 0.9; for sparse
        rows it is 0, with which a step costs no more than its non-zeros.
    nesterovs_momentum : bool, default=False
        Whether the gradient's own share is added once more, as if one step ahead.
    average : bool or "auto", default="auto"
        Whether the model is the average of the iterates, with most of the weight on the later
        ones (polynomial-decay averaging). "auto" averages if ``learning_rate_init="auto"`` and
        there is no L1 penalty, whose zeros an average would lose.
    shuffle : bool, default=True
        Whether to draw the rows in another order each epoch.
    early_stopping : bool, default=False
        Whether to set rows aside, end when their score has not risen by ``tol`` for
        ``n_iter_no_change`` iterations, and keep the best model. Both solvers do.
    validation_fraction : float, default=0.1
        Share of the rows set aside, in (0, 1). Each class keeps a row to train on.
    n_iter_no_change : int, default=5
        How long to wait for better.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients W: of the log-odds of ``classes_[1]`` for two classes, else of each class.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts b; zeros without ``fit_intercept``.
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.
    n_iter_ : ndarray of shape (1,)
        Number of iterations or epochs.
    loss_curve_ : list of float
        The objective after each iteration (divided by the sum of weights: a mean, in nats);
        for "sgd", the mean over each epoch's batches. On large sparse X "lbfgs" begins with
        sweeps over the rows, whose loss is that of each row when it was its turn.
    validation_score_curve_ : list of float
        Mean log-likelihood (the negative log loss, in nats) of the validation rows after each
        iteration. Only with ``early_stopping``.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : The same model, other solvers.
    sklearn.neural_network.MLPClassifier : With no hidden layers, the same model by Adam.

    Notes
    -----
    Dense X is never copied as a whole, nor is CSR that is canonical: columns sorted, none twice in
    a row. Of other sparse matrices a canonical copy is made. What is passed is never changed.
    float32 stays float32 in the matrix products; loss and parameters are float64 while fitting.
    With the same data, parameters and number of threads the result is the same to the bit.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_softmax import SoftmaxRegressionClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> clf = SoftmaxRegressionClassifier().fit(X, y)
    >>> clf.predict(X[:2])
    array([0, 0])
    >>> clf.predict_proba(X[[25, 83]]).round(3)
    array([[0.457, 0.506, 0.037],
           [0.02 , 0.564, 0.416]])
    >>> round(clf.score(X, y), 3)
    0.994
    """

    _parameter_constraints: dict = {
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "solver": [StrOptions({"lbfgs", "sgd"})],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "n_jobs": [None, Integral],
        "device": [None, StrOptions({"cpu", "cuda"})],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive", "cosine"})],
        "learning_rate_init": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "warmup_steps": [Interval(Integral, 0, None, closed="left")],
        "momentum": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "average": ["boolean", StrOptions({"auto"})],
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        C=1.0,
        l1_ratio=0.0,
        fit_intercept=True,
        class_weight=None,
        label_smoothing=0.0,
        solver="lbfgs",
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
        random_state=None,
        verbose=0,
        n_jobs=None,
        device=None,
        batch_size="auto",
        learning_rate="invscaling",
        learning_rate_init="auto",
        warmup_steps=0,
        momentum="auto",
        nesterovs_momentum=False,
        average="auto",
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
    ):
        self.C = C
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.device = device
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.warmup_steps = warmup_steps
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.average = average
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    # Fitting ---------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features: real numbers of any dtype and memory layout, or a sparse matrix of
            any format. They must be finite, also in rows of weight 0.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Class labels: numbers, booleans, strings, bytes or dates, all of one kind and none
            missing. Or a distribution over the classes for each row, which must sum to 1. The
            columns of a DataFrame are the classes, those of an array are numbered from 0.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, not negative. 2 is the same as repeating a row, 0 as leaving it out.

        Returns
        -------
        self : SoftmaxRegressionClassifier
            The fitted estimator. If fitting fails it is as it was before.
        """
        with _all_or_nothing(self), memory_errors_told(), on_device_of(X):
            data = check_training_data(self, X, y, sample_weight)
            is_warm = self.warm_start and hasattr(self, "coef_")
            if is_warm:
                check_warm_start(self, data)
            start = initial_coefficients(self, data, warm=is_warm)
            context = self._init_callback_context(max_subtasks=self.max_iter + 1)
            metadata = None if sample_weight is None else {"sample_weight": sample_weight}
            reported = {"X": X, "y": y, "metadata": metadata}
            context.call_on_fit_task_begin(estimator=self, **reported)
            observer = None
            if self.verbose or hasattr(self, "_skl_callbacks"):
                observer = Observer(self, context, reported, self.verbose)
            with refused_if_not_finite(self, data):
                fitted = fit_all(self, data, start, observer)
            self._publish(fitted)
            self.n_iter_ = np.array([fitted.training.state.n_iter], dtype=np.int32)
            self.loss_curve_ = fitted.training.loss_curve
            if self.early_stopping:
                self.validation_score_curve_ = fitted.training.validation_scores
            elif hasattr(self, "validation_score_curve_"):
                del self.validation_score_curve_
            self._warn_unless_converged(fitted.training)
        context.call_on_fit_task_end(estimator=self, **reported, reconstruction_attributes={})
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Take one pass of minibatch SGD over some rows, whatever the ``solver``.

        Goes on from the model as it is, if there is one. The penalty is set against the
        weight of all rows seen so far.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            As for :meth:`fit`. Not all classes need to occur.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes there will be. Needed at the first call, and may be left out later. The
            columns of an array of distributions are in the order of ``classes_``, which is
            sorted; ``classes`` must be sorted then.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights.

        Returns
        -------
        self : SoftmaxRegressionClassifier
            The estimator. If it fails it is as it was before.
        """
        refuse_for_streams(self)
        with _all_or_nothing(self), memory_errors_told(), on_device_of(X):
            is_first = not hasattr(self, "classes_")
            data = check_training_data(self, X, y, sample_weight, classes=classes, is_stream=True)
            start = initial_coefficients(self, data, warm=not is_first)
            with refused_if_not_finite(self, data):
                fitted = fit_chunk(self, data, start, None if is_first else self._stream)
            self._publish(fitted)
            self.n_iter_ = np.array([1 if is_first else self.n_iter_[0] + 1], dtype=np.int32)
            before = [] if is_first else self.loss_curve_
            self.loss_curve_ = before + fitted.training.loss_curve
            if self.verbose:
                name = type(self).__name__
                print(f"[{name}] call {self.n_iter_[0]}: loss {self.loss_curve_[-1]:.8g}")
        return self

    def _publish(self, fitted):
        for name, value in fitted.model.items():
            setattr(self, name, value)
        self._stream = fitted.stream

    def _warn_unless_converged(self, training: Training):
        if training.reason == "max_iter":
            unit = "iterations" if self.solver == "lbfgs" else "epochs"
            warnings.warn(
                f"{self.solver} did not converge in max_iter={self.max_iter} {unit}. Increase "
                f"max_iter, or tol (now {self.tol:g}).",
                ConvergenceWarning,
                stacklevel=4,
            )
        elif (
            self.solver == "sgd"
            and self.learning_rate_init != "auto"
            and training.state.loss > training.loss_curve[0]
        ):
            warnings.warn(
                f"sgd ended with a loss of {training.state.loss:.6g}, which is above that of its "
                f"first epoch, {training.loss_curve[0]:.6g}: the learning rate is too large. "
                "Lower learning_rate_init, or leave it at 'auto'.",
                ConvergenceWarning,
                stacklevel=4,
            )
        elif training.reason == "precision":
            warnings.warn(
                "lbfgs stopped before the tolerance was reached: rounding errors hide any "
                f"further decrease of the loss in {self.coef_.dtype}. Scale the features, pass X "
                f"as float64, or increase tol (now {self.tol:g}).",
                ConvergenceWarning,
                stacklevel=4,
            )

    # Prediction ------------------------------------------------------------------------

    def decision_function(self, X):
        """Compute the logits W x + b.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``, else a logit for each class.
        """
        return self._predict(X, _prediction.log_odds)

    def predict(self, X):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels, of the dtype of ``classes_``.
        """
        check_is_fitted(self)
        return self._predict(X, _prediction.most_probable, self.classes_)

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; rows sum to 1.
        """
        return self._predict(X, _prediction.probabilities)

    def predict_log_proba(self, X):
        """Return the logarithm of the probability of each class.

        A true log-softmax of the logits: finite also where the probability underflows to 0.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In nats; columns in the order of ``classes_``.
        """
        return self._predict(X, _prediction.log_probabilities)

    def score(self, X, y, sample_weight=None):
        """Return the accuracy.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Labels; or distributions, of which the predicted class's probability counts.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights.

        Returns
        -------
        float
            Mean accuracy, in [0, 1].
        """
        if is_dask(X):
            from ._dask_data import check_dask_features, mean_of_rows

            check_is_fitted(self)
            model = self.coef_, self.intercept_, self.classes_
            hits = functools.partial(_prediction.is_hit, *model)
            X = check_dask_features(self, X, reset=False)
            return mean_of_rows(hits, X, y, sample_weight, self.classes_)
        predicted = in_memory(self.predict(X), "X")
        return mean_hits(y, predicted, self.classes_, sample_weight)

    def _predict(self, X, transform, labels=None):
        check_is_fitted(self)
        if is_dask(X):
            from ._dask_data import check_dask_features, map_rows

            X = check_dask_features(self, X, reset=False)
            model = self.coef_, self.intercept_
            predict = functools.partial(_prediction.predict_rows, *model, transform, labels)
            return map_rows(predict, X)
        was_host = not is_foreign(X)
        with on_device_of(X):
            X = check_features(self, X, reset=False)
            result, is_finite = _prediction.predict_blocks(
                X,
                self.coef_,
                self.intercept_,
                transform,
                n_classes=len(self.classes_),
                n_jobs=self.n_jobs,
            )
            if not is_finite:  # (Finite X whose logits overflow is let through.)
                check_finite(self, X)
            result = to_numpy(result) if was_host else result
            return result if labels is None else _prediction.labels_at(labels, result)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@contextmanager
def _all_or_nothing(estimator):
    """Give the estimator its fitted attributes back if fitting fails, or is interrupted."""
    before = {name: value for name, value in vars(estimator).items() if _is_fitted_name(name)}
    try:
        yield
    except BaseException:
        for name in [name for name in vars(estimator) if _is_fitted_name(name)]:
            delattr(estimator, name)
        vars(estimator).update(before)
        raise


def _is_fitted_name(name):
    return name == "_stream" or (name.endswith("_") and not name.startswith("_"))
