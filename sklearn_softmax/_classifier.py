"""SoftmaxRegressionClassifier: parameters, what is published, warnings. No arithmetic."""

import inspect
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from ._arrays.portable import memory_errors_told, on_device_of
from ._fitting import fit_all, fit_chunk, initial_coefficients
from ._migration import OtherNamesMixin, explains_other_names
from ._predictor import SoftmaxPredictor, publish, snapshot
from ._rows.blas_threads import BlasRestored
from ._solvers.training import Observer, Training
from ._validation import (
    check_training_data,
    check_warm_start,
    refuse_for_streams,
    refused_if_not_finite,
)

# What only SGD looks at.
_SGD_PARAMETERS = [
    "batch_size",
    "learning_rate",
    "learning_rate_init",
    "warmup_steps",
    "momentum",
    "nesterovs_momentum",
    "average",
    "shuffle",
]
# Why a fit has ended, in words for ``verbose``; the keys are the values of ``stop_reason_``.
_ENDINGS = {
    "converged": "converged",
    "precision": "stopped because rounding errors hide any further decrease of the loss",
    "digits": "stopped, and its coefficients need more digits than their dtype has",
    "max_iter": "reached max_iter",
    "validation": "stopped because the validation score no longer rises",
    "callback": "was stopped by a callback",
}


class SoftmaxRegressionClassifier(OtherNamesMixin, SoftmaxPredictor):
    r"""Softmax (multinomial logistic) regression.

    Minimises the penalised cross-entropy of a linear model,

    .. math::
        \min_{W, b} \; \sum_i s_i \, \ell(W x_i + b, y_i)
        + \frac{1}{C} \left( \frac{1 - \rho}{2} \|W\|_2^2 + \rho \|W\|_1 \right), \qquad
        \ell(o, y) = \log \sum_k e^{o_k} - \sum_k y_k o_k ,

    with sample weights :math:`s_i` and the ``l1_ratio`` :math:`\rho`. This is the objective of
    :class:`~sklearn.linear_model.LogisticRegression`, and with the same parameters the optimum
    is the same. Features need not be scaled for the solvers to converge: they centre and scale
    the parameters instead, which changes neither X nor the penalty.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the strength of the regularisation, in (0, inf]. Smaller values regularise more.
        ``np.inf`` means no penalty.
    l1_ratio : float, default=0.0
        Share of the L1 norm in the penalty, in [0, 1]. With 0 the penalty is L2. With 1 it is L1,
        which makes coefficients exactly zero. Values in between are the elastic net.
    fit_intercept : bool, default=True
        Whether to add an intercept, which is not penalised.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as ``{label: weight}``, finite and not negative. Classes that are
        not named have weight 1. "balanced" weights each class by the inverse of its share of the
        rows. These weights multiply ``sample_weight``. A distribution counts as a row for each of
        its classes.
    label_smoothing : float, default=0.0
        Replace each target y by ``(1 - label_smoothing) * y + label_smoothing / n_classes``.
        In [0, 1).
    solver : {"auto", "lbfgs", "coordinate_descent", "sgd"}, default="auto"
        The algorithm.

        - "auto" chooses "coordinate_descent" for L1 and the elastic net, if X is a NumPy array or
          a SciPy sparse matrix, and "lbfgs" otherwise.
        - "lbfgs" uses all rows in each step, and starts from the curvature of the problem. It
          takes any penalty and any X.
        - "coordinate_descent" is for L1 and the elastic net only. It takes Newton steps for the
          few coefficients that are not zero, each found by coordinate descent. Where too many
          coefficients are not zero, "lbfgs" takes over: more than 3000 of them, or so many that
          computing a Hessian needs more multiplications than 30 evaluations of the loss.
        - "sgd" uses ``batch_size`` rows in each step. It ends near the optimum, not at it.
    max_iter : int, default=1000
        Largest number of iterations, or of epochs for "sgd". Most fits end much earlier.
    tol : float, default=1e-4
        How close to the optimum a fit ends; if it cannot get that close, it warns.

        - Without an L1 penalty, a fit ends when the relative error that is left,
          :math:`\sqrt{g^\top H g / f}`, is no larger than ``tol``, for the gradient g, the
          estimated inverse Hessian H and the objective f. The objective is then within about
          ``tol**2 / 2`` of its minimum, relatively.
        - With an L1 penalty, it ends when the duality gap is at most ``tol`` times the objective
          (``tol**2`` times for the elastic net).
        - "sgd" ends when the loss of an epoch has not fallen by ``tol`` (in nats) for
          ``n_iter_no_change`` epochs. Epochs of fewer than 8 batches are looked at together.

        An objective that is below a ten-thousandth of that of equally probable classes counts as
        that. No fit is more precise than the rounding errors of the dtype of X.
    warm_start : bool, default=False
        Whether ``fit`` starts from the solution of the last call.
    random_state : int, RandomState instance or None, default=None
        Used when ``solver="sgd"``, to draw the order of the rows, and when ``early_stopping`` is
        True, to draw the validation rows.
    verbose : int, default=0
        If above 0, print a line for each iteration or epoch, with the loss and the validation
        score if there is one, and at the end why the fit has ended.
    n_jobs : int or None, default=None
        Number of threads. None takes as many as BLAS may use; -1 takes all cores.
    device : {"cpu", "cuda"} or None, default=None
        Where to compute. None follows X: arrays of CuPy or PyTorch stay where they are. "cuda"
        moves NumPy and SciPy X to a GPU with CuPy, and PyTorch tensors with PyTorch. "cpu" moves
        any X to NumPy. Fitted attributes are always NumPy arrays; predictions follow X.
    batch_size : int or "auto", default="auto"
        Number of rows in a minibatch. "auto" is 256, or fewer (at least 32) where that would make
        fewer than 32 batches an epoch; up to 64 rows are one batch. For ``partial_fit`` it is 32.
        A batch with fewer rows counts as its share of a full one. A full batch never has more
        rows than X. Only used when ``solver="sgd"`` and by ``partial_fit``.
    learning_rate : {"constant", "invscaling", "adaptive", "cosine"}, default="invscaling"
        Schedule of the learning rate.

        - "constant" keeps ``learning_rate_init``.
        - "invscaling" divides it by ``(1 + n_steps / 100) ** (2 / 3)``, where steps are counted in
          full batches.
        - "adaptive" divides it by 5 whenever the loss has not fallen by ``tol`` for
          ``n_iter_no_change`` epochs, and ends when it is a thousandth of its first value.
        - "cosine" lets it fall to 0 along half a cosine, over ``max_iter`` epochs.

        Only used when ``solver="sgd"`` and by ``partial_fit``.
    learning_rate_init : float or "auto", default="auto"
        The first learning rate. A number is used as it is, on the features as they are. "auto"
        centres and scales the features (in the space of the parameters), removes their
        correlations unless there are too many features, and finds a learning rate for this batch
        size from the curvature of a first sample. Only used when ``solver="sgd"`` and by
        ``partial_fit``.
    warmup_steps : int, default=0
        Number of steps over which the learning rate rises to its first value. Only used when
        ``solver="sgd"`` and by ``partial_fit``.
    momentum : float or "auto", default="auto"
        Share of the last step that is added to the next, in [0, 1). "auto" is 0.9, and 0 for
        sparse rows, where a step then costs no more than their non-zero entries. Only used when
        ``solver="sgd"`` and by ``partial_fit``.
    nesterovs_momentum : bool, default=False
        Whether to use Nesterov's momentum. Only used when ``solver="sgd"`` and by
        ``partial_fit``.
    average : bool or "auto", default="auto"
        Whether the model is the average of the iterates, with most of the weight on the later
        ones (polynomial-decay averaging). "auto" averages if ``learning_rate_init="auto"`` and
        there is no L1 penalty, since an average would lose its zeros. Only used when
        ``solver="sgd"`` and by ``partial_fit``.
    shuffle : bool, default=True
        Whether to shuffle the rows before each epoch. Only used when ``solver="sgd"`` and by
        ``partial_fit``.
    early_stopping : bool, default=False
        Whether to set some rows aside for validation, and end the fit when their score has not
        risen by ``tol`` for ``n_iter_no_change`` iterations. The model with the best score is
        kept, which may be the one that the fit started from. Works with every solver.
    validation_fraction : float, default=0.1
        Share of the rows that are set aside, in (0, 1). At least one row of each class is kept
        for training. Only used when ``early_stopping`` is True.
    n_iter_no_change : int, default=5
        Number of iterations or epochs without improvement after which a fit ends. Only used when
        ``early_stopping`` is True or ``solver="sgd"``.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients W: of the log-odds of ``classes_[1]`` for two classes, else of each class.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts b; zeros without ``fit_intercept``.
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.
    n_iter_ : ndarray of shape (1,)
        Number of iterations or epochs; 0 where a warm start is at the optimum. After
        ``partial_fit``, also its calls.
    loss_curve_ : list of float
        The objective after each iteration, divided by the sum of weights: a mean, in nats. For
        "sgd", the mean over the batches of each epoch. On large sparse X, "lbfgs" begins with
        sweeps over the rows; the loss of a sweep is that of each row when it was its turn. If
        "lbfgs" took no iteration, the list holds the objective at the start.
    duality_gap_ : float
        An upper bound of how far the objective is above its minimum, in the unit of
        ``loss_curve_``, up to rounding errors. It holds whatever the solver did. It is small at
        the optimum, and may be loose where a feature is large and hardly penalised. Without a
        penalty (``C=np.inf``) there is no such bound, and it is ``np.inf``. Not set by
        :meth:`partial_fit`.
    stop_reason_ : str
        Why the fit ended. Not set by :meth:`partial_fit`.

        - "converged": within ``tol`` of the optimum; for "sgd", the loss no longer falls.
        - "max_iter": after ``max_iter`` iterations.
        - "validation": the score of the validation rows no longer rises.
        - "callback": a callback asked for it.
        - "precision": rounding errors hide any further decrease of the loss.
        - "digits": the coefficients need more digits than their dtype has.
    validation_score_curve_ : list of float
        Mean log-likelihood (the negative log loss, in nats) of the validation rows after each
        iteration. Only set by :meth:`fit` with ``early_stopping``.
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
    What is passed is never changed. Dense X is never copied as a whole, and neither is a CSR
    matrix in canonical form, in which the columns of each row are sorted and none occurs twice.
    Other sparse matrices are copied into that form. With an L1 penalty and Numba, "auto" takes one
    copy of sparse X by columns.

    float32 X stays float32 in the matrix products, while the loss and the parameters are float64
    during the fit. If the mean of a feature is more than a thousand standard deviations away from
    zero, float32 would lose too many digits. Products are then taken in float64, and ``coef_`` is
    float64 too where it must be. The same data, parameters and number of threads give the same
    result, to the bit.

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
        "solver": [StrOptions({"auto", "lbfgs", "coordinate_descent", "sgd"})],
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

    @explains_other_names
    def __init__(
        self,
        *,
        C=1.0,
        l1_ratio=0.0,
        fit_intercept=True,
        class_weight=None,
        label_smoothing=0.0,
        solver="auto",
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
            Weights, not negative. For the objective 2 is the same as repeating a row, and 0 as
            leaving it out; of SGD's batches, whose rows are drawn, only up to noise.

        Returns
        -------
        self : SoftmaxRegressionClassifier
            The fitted estimator. If fitting fails it is as it was before: by an error, also
            one that a callback raises or a warning is turned into, or by an interrupt.
        """
        with BlasRestored():
            fitted = snapshot(self)
            fitted._fit_in_place(X, y, sample_weight)
        publish(self, fitted)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def _fit_in_place(self, X, y, sample_weight):
        with memory_errors_told(), on_device_of(X):
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
                unit = "epoch" if self.solver == "sgd" else "iteration"
                observer = Observer(self, context, reported, self.verbose, unit)
            with refused_if_not_finite(self, data):
                fitted = fit_all(self, data, start, observer)
            training = fitted.training
            loss_curve, start_loss = training.loss_curve, training.state.loss
            if not loss_curve and np.isfinite(start_loss):
                loss_curve = [start_loss]
            self._take(fitted, n_iter=training.state.n_iter, loss_curve=loss_curve)
            self.duality_gap_ = fitted.duality_gap
            self.stop_reason_ = training.reason
            if self.early_stopping:
                self.validation_score_curve_ = training.validation_scores
            if self.verbose:
                self._tell_end(fitted.solver)
            self._warn_of_idle_parameters()
            self._warn_unless_converged(training, fitted.solver)
            for said in fitted.warnings:
                warnings.warn(said, ConvergenceWarning, stacklevel=4)
        context.call_on_fit_task_end(estimator=self, **reported, reconstruction_attributes={})

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Take one pass of minibatch SGD over some rows, whatever the ``solver``.

        Goes on from the model as it is, if there is one, also where ``coef_`` and
        ``intercept_`` were set by hand. The penalty is set against the weight of all rows seen so
        far. Parameters that were set since the last call act from now on.

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
            The estimator. If it fails it is as it was before, as with :meth:`fit`.
        """
        with BlasRestored():
            fitted = snapshot(self)
            fitted._partial_fit_in_place(X, y, classes, sample_weight)
        publish(self, fitted)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def _partial_fit_in_place(self, X, y, classes, sample_weight):
        refuse_for_streams(self)
        with memory_errors_told(), on_device_of(X):
            is_first = not hasattr(self, "classes_")
            data = check_training_data(self, X, y, sample_weight, classes=classes, is_stream=True)
            start = initial_coefficients(self, data, warm=not is_first)
            with refused_if_not_finite(self, data):
                fitted = fit_chunk(self, data, start, getattr(self, "_stream", None))
            # (A model may have been made by hand, of its coefficients alone.)
            n_iter = 0 if is_first else getattr(self, "n_iter_", [0])[0]
            loss_curve = [] if is_first else getattr(self, "loss_curve_", [])
            loss_curve = loss_curve + fitted.training.loss_curve
            self._take(fitted, n_iter=n_iter + 1, loss_curve=loss_curve)
            for said in fitted.warnings:
                warnings.warn(said, ConvergenceWarning, stacklevel=4)
            if self.verbose:
                name = type(self).__name__
                print(f"[{name}] call {self.n_iter_[0]}: loss {self.loss_curve_[-1]:.8g}")

    def _take(self, fitted, *, n_iter, loss_curve):
        """Set the fitted attributes, and none but those of this fit."""
        for name in ("validation_score_curve_", "duality_gap_", "stop_reason_"):
            if hasattr(self, name):
                delattr(self, name)
        for name, value in fitted.model.items():
            setattr(self, name, value)
        self._stream = fitted.stream
        self.n_iter_ = np.array([n_iter], dtype=np.int32)
        self.loss_curve_ = loss_curve

    def _tell_end(self, solver):
        unit = "epochs" if solver == "sgd" else "iterations"
        print(
            f"[{type(self).__name__}] {solver} {_ENDINGS[self.stop_reason_]}; "
            f"{self.n_iter_[0]} {unit} in all"
        )

    def _warn_of_idle_parameters(self):
        """Warn of parameters that were set for SGD, where another solver has run."""
        if self.solver == "sgd":
            return
        defaults = inspect.signature(SoftmaxRegressionClassifier).parameters
        idle = [
            f"{name}={getattr(self, name)!r}"
            for name in _SGD_PARAMETERS
            if getattr(self, name) != defaults[name].default
        ]
        if idle:
            warnings.warn(
                f"Parameters that had no effect: {', '.join(idle)}. fit uses them only when "
                f"solver='sgd', and solver is {self.solver!r}. (partial_fit always uses them.)",
                UserWarning,
                stacklevel=5,
            )

    def _warn_unless_converged(self, training: Training, solver):
        if training.reason == "max_iter":
            unit = "epochs" if solver == "sgd" else "iterations"
            warnings.warn(
                f"{solver} did not converge in max_iter={self.max_iter} {unit}. Increase "
                f"max_iter, or tol (now {self.tol:g}).",
                ConvergenceWarning,
                stacklevel=5,
            )
        elif training.reason == "digits":
            warnings.warn(
                "The coefficients are so large that rounding them shifts the logits: features are "
                f"collinear, or far from zero, and {self.coef_.dtype} cannot hold the model that "
                "was found. Centre or drop such features, or lower C.",
                ConvergenceWarning,
                stacklevel=5,
            )
        elif training.reason == "precision":
            warnings.warn(
                f"{solver} stopped before the tolerance was reached: rounding errors hide any "
                f"further decrease of the loss in {self.coef_.dtype}. Scale the features, pass X "
                f"as float64, or increase tol (now {self.tol:g}).",
                ConvergenceWarning,
                stacklevel=5,
            )
