"""SoftmaxRegressionClassifier: parameters, validation, labels and weights. No arithmetic."""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from . import _prediction, _sgd, _targets
from ._backend import float_dtype
from ._blocks import RowBlocks
from ._curvature import Curvature
from ._lbfgs import lbfgs
from ._objective import SoftmaxObjective, n_outputs
from ._scaling import Scaling
from ._training import Observer, Training, train


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
        Weights of the classes, ``{label: weight}``; those not named have weight 1. "balanced"
        weights each class by the inverse of its share of the rows. They multiply
        ``sample_weight``.
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
    device : {"cpu"} or None, default=None
        Where to compute; None follows X.
    batch_size : int, default=256
        Rows of a minibatch.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="adaptive"
        How the learning rate goes on. "constant" keeps ``learning_rate_init``; "invscaling"
        divides it by the fourth root of the number of steps; "adaptive" divides it by 5
        whenever the loss has not fallen by ``tol`` for ``n_iter_no_change`` epochs, and ends
        when it is a thousandth of what it was.
    learning_rate_init : float or "auto", default="auto"
        The learning rate. A number is used as it is, on the features as they are. "auto"
        centres and scales the features (in the space of the parameters), and takes the
        largest rate that cannot diverge from their curvature.
    momentum : float, default=0.9
        Share of the last step that is added to the next, in [0, 1).
    shuffle : bool, default=True
        Whether to draw the rows in another order each epoch.
    early_stopping : bool, default=False
        Whether to set rows aside, end when their score has not risen by ``tol`` for
        ``n_iter_no_change`` iterations, and keep the best model. Both solvers do.
    validation_fraction : float, default=0.1
        Share of the rows set aside, in (0, 1).
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
        for "sgd", the mean over each epoch's batches.
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
    X is never copied as a whole. float32 stays float32 in the matrix products; loss and
    parameters are float64 while fitting. With the same data, parameters and number of threads
    the result is the same to the bit.

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
        "device": [None, StrOptions({"cpu"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
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
        batch_size=256,
        learning_rate="adaptive",
        learning_rate_init="auto",
        momentum=0.9,
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
        self.momentum = momentum
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
            Rows of features: numbers of any dtype and memory layout, CSR or CSC.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Class labels of any type; or a distribution over the classes for each row, which
            must sum to 1. The columns of a DataFrame are the classes, those of an array are
            numbered from 0.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, not negative. 2 is the same as repeating a row, 0 as leaving it out.

        Returns
        -------
        self : SoftmaxRegressionClassifier
            The fitted estimator. If fitting fails it is as it was before.
        """
        with _all_or_nothing(self):
            data = self._validate(X, y, sample_weight)
            start = self._start(data)
            context = self._init_callback_context(max_subtasks=self.max_iter + 1)
            reported = self._reported_data(X, y, sample_weight)
            context.call_on_fit_task_begin(estimator=self, **reported)
            if self.solver == "lbfgs":
                training = self._fit_lbfgs(data, start, context, reported)
            else:
                training = self._fit_sgd(data, start, context, reported)
            self.n_iter_ = np.array([training.state.n_iter], dtype=np.int32)
            self.loss_curve_ = training.loss_curve
            if self.early_stopping:
                self.validation_score_curve_ = training.validation_scores
            elif hasattr(self, "validation_score_curve_"):
                del self.validation_score_curve_
            self._warn_unless_converged(training)
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
            All classes there will be. Needed at the first call, and may be left out later.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights.

        Returns
        -------
        self : SoftmaxRegressionClassifier
            The estimator. If it fails it is as it was before.
        """
        self._refuse_for_streams()
        with _all_or_nothing(self):
            is_first = not hasattr(self, "classes_")
            data = self._validate(X, y, sample_weight, classes, is_stream=True)
            stream = getattr(self, "_stream", None)
            rng = self._generator() if stream is None else stream.rng
            seen = data.total_weight + (0.0 if is_first else self._weight_seen)
            with self._blocks(data) as blocks:
                scaling = self._sgd_scaling() if stream is None else stream.scaling
                objective = self._objective(blocks, scaling=scaling, penalty_weight=seen)
                schedule = self._schedule(objective, rng, None if stream is None else stream.rate)
                vector = objective.parameters(*self._initial(data, None if is_first else self))
                state = _sgd.Epoch(vector, np.zeros_like(vector), schedule.learning_rate_init)
                if stream is not None:
                    state.velocity, state.n_steps = stream.velocity, stream.n_steps
                state = _sgd.run_epoch(objective, state, schedule, rng)
            self._set_model(objective, state.vector, data)
            self._set_stream(objective, state, rng, seen)
            self.n_iter_ = np.array([1 if is_first else self.n_iter_[0] + 1], dtype=np.int32)
            self.loss_curve_ = [*(() if is_first else self.loss_curve_), state.loss]
            if self.verbose:
                print(f"[{type(self).__name__}] call {self.n_iter_[0]}: loss {state.loss:.8g}")
        return self

    def _validate(self, X, y, sample_weight, classes=None, is_stream=False):
        """Check and convert the arguments of ``fit`` and ``partial_fit``."""
        is_first = not (is_stream and hasattr(self, "classes_"))
        checks = {"accept_sparse": "csr", "accept_large_sparse": True, "dtype": "numeric"}
        if _targets.is_distribution(y):
            X = validate_data(self, X, reset=is_first, **checks)
        else:
            X, y = validate_data(self, X, y, reset=is_first, **checks)
            check_classification_targets(y)
        known = None
        if is_stream:
            known = self._known_classes(classes)
        if _targets.is_distribution(y):
            classes, y = _targets.check_distribution(y, known)
            if len(y) != X.shape[0]:
                raise ValueError(f"X has {X.shape[0]} rows, but y has {len(y)}.")
        else:
            classes, y = _targets.encode_labels(y, known)
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes in the data, but the "
                f"data contains only one class: {classes[0]!r}."
            )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
        return self._weigh(X, y, classes, sample_weight)

    def _known_classes(self, classes):
        if classes is None:
            if not hasattr(self, "classes_"):
                raise ValueError(
                    "classes must be passed at the first call of partial_fit: the labels of "
                    "all classes that there will be."
                )
            return self.classes_
        classes = np.unique(np.asarray(classes))
        if hasattr(self, "classes_") and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"classes is {classes!r}, but the model's classes are {self.classes_!r}; they "
                "cannot change between calls of partial_fit."
            )
        return classes

    def _weigh(self, X, y, classes, sample_weight):
        weight, class_weight = sample_weight, None
        if self.class_weight is not None:
            class_weight = _targets.class_weights(self.class_weight, classes, y, sample_weight)
            of_rows = class_weight[y] if y.ndim == 1 else y @ class_weight
            weight = of_rows if sample_weight is None else sample_weight * of_rows
            if not weight.any():
                raise ValueError("class_weight and sample_weight leave no row a weight.")
        return _Data(X, y, classes, weight, class_weight)

    def _start(self, data):
        """Return raw coefficients and intercepts to start from."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return self._initial(data, None)
        shape = (n_outputs(len(data.classes)), data.X.shape[1])
        if self.coef_.shape != shape or not np.array_equal(self.classes_, data.classes):
            raise ValueError(
                f"warm_start needs the classes and features of the last fit, {self.classes_!r} "
                f"and coefficients of shape {self.coef_.shape}; now they are "
                f"{data.classes!r} and {shape}."
            )
        coef, intercept = self._initial(data, self)
        if self.l1_ratio == 0 and len(coef) > 1:
            # Steps keep what coefficients sum to over the classes; the optimum has it at 0.
            coef -= coef.mean(axis=0)
        return coef, intercept

    def _initial(self, data, model):
        if model is None:
            n_rows = n_outputs(len(data.classes))
            return np.zeros((n_rows, data.X.shape[1])), np.zeros(n_rows)
        model.densify()
        return model.coef_.astype(np.float64), model.intercept_.astype(np.float64)

    def _fit_lbfgs(self, data, start, context, reported):
        with self._blocks(data) as blocks:
            score = self._validation_score(data, blocks)
            objective = self._objective(blocks)
            iterates = lbfgs(
                objective,
                Curvature(objective),
                objective.parameters(*start),
                tol=self.tol,
                l1_weights=objective.penalty_weights[0] if self.l1_ratio else None,
            )
            training = self._train(iterates, objective, data, score, context, reported)
        self._set_model(objective, training.vector, data)
        self._stream, self._weight_seen = None, data.total_weight
        return training

    def _fit_sgd(self, data, start, context, reported):
        rng = self._generator()
        with self._blocks(data) as blocks:
            score = self._validation_score(data, blocks)
            objective = self._objective(blocks, scaling=self._sgd_scaling())
            schedule = self._schedule(objective, rng)
            vector = objective.parameters(*start)
            state = _sgd.Epoch(vector, np.zeros_like(vector), schedule.learning_rate_init)
            iterates = _sgd.sgd(objective, state, schedule, rng)
            training = self._train(iterates, objective, data, score, context, reported)
        self._set_model(objective, training.vector, data)
        self._set_stream(objective, training.state, rng, data.total_weight)
        return training

    def _train(self, iterates, objective, data, score, context, reported):
        def attributes(vector):
            return self._model_attributes(objective, vector, data)

        observer = None
        if self.verbose or hasattr(self, "_skl_callbacks"):
            observer = Observer(self, context, reported, attributes, self.verbose)
        return train(
            iterates,
            max_iter=self.max_iter,
            score=None if score is None else lambda vector: score(objective, vector),
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            observer=observer,
        )

    def _blocks(self, data):
        return RowBlocks(
            data.X,
            data.y,
            data.weight,
            n_classes=len(data.classes),
            class_weight=data.class_weight,
            n_jobs=self.n_jobs,
        )

    def _objective(self, blocks, **options):
        return SoftmaxObjective(
            blocks,
            C=self.C,
            l1_ratio=self.l1_ratio,
            fit_intercept=self.fit_intercept,
            label_smoothing=self.label_smoothing,
            **options,
        )

    def _validation_score(self, data, blocks):
        """Set rows aside if asked to; return what scores a vector on them, or None."""
        if not self.early_stopping:
            return None
        train_rows, rows = _targets.split_rows(
            data.strata, data.weight, self.validation_fraction, self.random_state
        )
        weight = None if data.weight is None else data.weight[rows]
        # A row set aside is a row of weight 0: no part of X is copied.
        training_weight = np.zeros(data.X.shape[0])
        training_weight[train_rows] = 1.0 if data.weight is None else data.weight[train_rows]
        blocks.set_weight(training_weight)
        return lambda objective, vector: -objective.mean_loss(vector, rows, weight)

    # SGD -------------------------------------------------------------------------------

    def _generator(self):
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        return np.random.default_rng(seed)

    def _sgd_scaling(self):
        # A learning rate given as a number is meant for the features as they are.
        return None if self.learning_rate_init == "auto" else Scaling.unscaled()

    def _schedule(self, objective, rng, rate=None):
        if rate is None:
            rate = self.learning_rate_init
        if rate == "auto":
            rate = _sgd.stable_rate(objective, self.batch_size, rng)
        return _sgd.Schedule(
            learning_rate=self.learning_rate,
            learning_rate_init=rate,
            momentum=self.momentum,
            batch_size=self.batch_size,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            shuffle=self.shuffle,
        )

    def _refuse_for_streams(self):
        if self.early_stopping:
            raise ValueError(
                "partial_fit does not support early_stopping=True: it sees no rows to set aside."
            )
        if self.class_weight == "balanced":
            raise ValueError(
                "partial_fit does not support class_weight='balanced', which needs the shares of "
                "the classes in all rows. Pass them as a dict: class_weight=dict(zip(classes, "
                "sklearn.utils.compute_class_weight('balanced', classes=classes, y=y)))."
            )

    # Results ---------------------------------------------------------------------------

    def _model_attributes(self, objective, vector, data):
        dtype = float_dtype(data.X)
        coef, intercept = objective.model(vector)
        return {
            "coef_": np.ascontiguousarray(coef, dtype=dtype),
            "intercept_": np.array(intercept, dtype=dtype),
            "classes_": data.classes,
        }

    def _set_model(self, objective, vector, data):
        for name, value in self._model_attributes(objective, vector, data).items():
            setattr(self, name, value)

    def _set_stream(self, objective, state, rng, weight_seen):
        self._weight_seen = weight_seen
        self._stream = _Stream(objective.scaling, state.velocity, state.rate, state.n_steps, rng)

    def _reported_data(self, X, y, sample_weight):
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        return {"X": X, "y": y, "metadata": metadata}

    def _warn_unless_converged(self, training: Training):
        if training.reason == "max_iter":
            unit = "iterations" if self.solver == "lbfgs" else "epochs"
            warnings.warn(
                f"{self.solver} did not converge in max_iter={self.max_iter} {unit}. Increase "
                f"max_iter, or tol (now {self.tol:g}).",
                ConvergenceWarning,
                stacklevel=3,
            )
        elif self.solver == "sgd" and training.state.loss > training.loss_curve[0]:
            warnings.warn(
                f"sgd ended with a loss of {training.state.loss:.6g}, which is above that of its "
                f"first epoch, {training.loss_curve[0]:.6g}: the learning rate is too large. "
                "Lower learning_rate_init, or leave it at 'auto'.",
                ConvergenceWarning,
                stacklevel=3,
            )
        elif training.reason == "precision":
            state = training.state
            within_rounding = 2 * state.decrement <= np.sqrt(
                np.finfo(self.coef_.dtype).eps
            ) * self.tol * abs(state.loss)
            if not within_rounding:
                warnings.warn(
                    "lbfgs stopped before the tolerance was reached: rounding errors hide any "
                    f"further decrease of the loss in {self.coef_.dtype}. Scale the features, "
                    f"pass X as float64, or increase tol (now {self.tol:g}).",
                    ConvergenceWarning,
                    stacklevel=3,
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
        positions = self._predict(X, _prediction.most_probable)
        return self.classes_[positions]

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
        predicted = self.predict(X)
        if not _targets.is_distribution(y):
            return accuracy_score(y, predicted, sample_weight=sample_weight)
        _, proba = _targets.check_distribution(y, self.classes_)
        hits = proba[np.arange(len(proba)), np.searchsorted(self.classes_, predicted)]
        return float(np.average(hits, weights=sample_weight))

    def _predict(self, X, transform):
        check_is_fitted(self)
        X = validate_data(
            self, X, reset=False, accept_sparse="csr", accept_large_sparse=True, dtype="numeric"
        )
        return _prediction.predict_blocks(
            X,
            self.coef_,
            self.intercept_,
            transform,
            n_classes=len(self.classes_),
            n_jobs=self.n_jobs,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass
class _Data:
    """Training data as validated."""

    X: Any
    y: np.ndarray
    classes: np.ndarray
    weight: np.ndarray | None
    class_weight: np.ndarray | None

    @property
    def total_weight(self):
        return float(self.X.shape[0] if self.weight is None else self.weight.sum())

    @property
    def strata(self):
        return self.y if self.y.ndim == 1 else self.y.argmax(axis=1)


@dataclass
class _Stream:
    """What SGD goes on with in the next ``partial_fit``, besides the model."""

    scaling: Scaling
    velocity: np.ndarray
    rate: float
    n_steps: int
    rng: np.random.Generator


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
    return name in ("_stream", "_weight_seen") or (name.endswith("_") and not name.startswith("_"))
