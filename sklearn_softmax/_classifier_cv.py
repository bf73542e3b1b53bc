"""SoftmaxRegressionClassifierCV: the classifier with C and l1_ratio chosen by cross-validation."""

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils._metadata_requests import _raise_for_params, _routing_enabled, process_routing
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping

from ._arrays.portable import in_memory, memory_errors_told, on_device_of
from ._classifier import SoftmaxRegressionClassifier
from ._cross_validation import (
    LogLikelihood,
    Scorer,
    checked_folds,
    folds_of,
    mean_models,
    search,
    select,
)
from ._migration import OtherNamesMixin, explains_other_names
from ._path import (
    Penalties,
    PenaltyPath,
    as_list_of_numbers,
    check_Cs,
    refuse_dask,
    warning_of_ends,
)
from ._predictor import SoftmaxPredictor, publish, snapshot
from ._rows.blas_threads import BlasRestored
from ._validation import check_training_data, mean_log_likelihood, refused_if_not_finite

# Of the classifier's parameters, those that are this one's too.
_SHARED = (
    "fit_intercept",
    "class_weight",
    "label_smoothing",
    "solver",
    "max_iter",
    "tol",
    "n_jobs",
    "device",
)


class SoftmaxRegressionClassifierCV(OtherNamesMixin, SoftmaxPredictor):
    """Softmax regression with C and ``l1_ratio`` chosen by cross-validation.

    The model, and the objective that each fit minimises, are those of
    :class:`SoftmaxRegressionClassifier`. Parameters and attributes are named as those of
    :class:`~sklearn.linear_model.LogisticRegressionCV`. Along C each fit starts from the one
    before. Folds are the same rows with other weights, so X is not copied.

    Parameters
    ----------
    Cs : int or array-like of shape (n_Cs,), default=10
        Values of C to try, in (0, inf]. A number asks for that many, evenly spaced on a logarithmic
        scale from 1e-4 to 1e4.
    l1_ratios : array-like of shape (n_l1_ratios,), default=(0.0,)
        Values of ``l1_ratio`` to try, each in [0, 1]: the share of the L1 norm in the penalty.
    fit_intercept : bool, default=True
        Whether to add an intercept, which is not penalised.
    cv : int, cross-validation generator, iterable or None, default=None
        How rows are split, as elsewhere in scikit-learn. None is 5 folds. A number asks for that
        many, stratified by class; where y holds distributions, by the most probable class. Each
        fold's training rows must have all classes, unless ``label_smoothing`` is above 0.
    scoring : str, callable or None, default=None
        What decides, the higher the better. None is the mean log-likelihood of the test rows, in
        nats. For labels that is "neg_log_loss", for distributions the negative cross-entropy. Else
        the name of a scorer, or ``scorer(estimator, X, y)``. ``sample_weight`` counts in it.
    selection : {"best", "one_standard_error"}, default="best"
        "best" takes the penalty with the best mean score; of equally good ones that with the
        smallest C. "one_standard_error" keeps its ``l1_ratio``, and takes the smallest C with a
        mean score no more than one standard error of the best mean below that [1]_. One fold has
        no standard error, and leaves the best.
    refit : bool, default=True
        Whether to fit a model to all rows with what was chosen. If not, the model is the mean of
        those of the folds at what was chosen.
    n_Cs_no_change : int or None, default=None
        When not None, a path along C ends once the mean score has not risen for so many values
        of C. Those left have the score NaN, and are not chosen.
    class_weight : dict, "balanced" or None, default=None
        As for :class:`SoftmaxRegressionClassifier`. "balanced" weights are those of each fold's
        training rows. They do not count in the scores.
    label_smoothing : float, default=0.0
        As for :class:`SoftmaxRegressionClassifier`. Scores are of the targets as they are.
    solver : {"auto", "lbfgs", "coordinate_descent"}, default="auto"
        As for :class:`SoftmaxRegressionClassifier`.
    max_iter : int, default=1000
        Largest number of iterations of each fit.
    tol : float, default=1e-4
        How close to its optimum each fit ends: as for :class:`SoftmaxRegressionClassifier`.
    verbose : int, default=0
        Above 0, print a line for each penalty.
    n_jobs : int or None, default=None
        Number of threads that share the rows. None takes as many as BLAS may use, -1 all cores.
    device : {"cpu", "cuda"} or None, default=None
        Where to compute. None follows X.

    Attributes
    ----------
    C_ : float
        The C that was chosen.
    l1_ratio_ : float
        The ``l1_ratio`` that was chosen.
    Cs_ : ndarray of shape (n_Cs,)
        The values of C, in the order given.
    l1_ratios_ : ndarray of shape (n_l1_ratios,)
        The values of ``l1_ratio``.
    scores_ : ndarray of shape (n_folds, n_l1_ratios, n_Cs)
        The score of each fold's test rows.
    coefs_paths_ : ndarray of shape (n_folds, n_l1_ratios, n_Cs, n_outputs, n_features + 1)
        The coefficients of each fit, the intercepts last. ``n_outputs`` is 1 for two classes.
        Without ``fit_intercept`` there are no intercepts.
    n_iter_ : ndarray of int of shape (n_folds, n_l1_ratios, n_Cs)
        Iterations of each fit; 0 where the model before it is within ``tol``.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients of the model.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts of the model.
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.
    duality_gap_ : float
        An upper bound of how far the objective of the model is above its minimum, in nats; as for
        :class:`SoftmaxRegressionClassifier`. Only with ``refit``.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    SoftmaxRegressionClassifier : The model for one C.
    softmax_path : Models along C, without folds.
    sklearn.linear_model.LogisticRegressionCV : The same search, other solvers.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning" (2009),
       section 7.10.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_softmax import SoftmaxRegressionClassifierCV
    >>> X, y = load_wine(return_X_y=True)
    >>> clf = SoftmaxRegressionClassifierCV(Cs=[0.01, 1.0, 100.0]).fit(X, y)
    >>> clf.C_
    1.0
    >>> clf.scores_.mean(axis=0).round(3)
    array([[-0.29 , -0.093, -0.104]])
    """

    _parameter_constraints: dict = {
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like"],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "selection": [StrOptions({"best", "one_standard_error"})],
        "refit": ["boolean"],
        "n_Cs_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "verbose": ["verbose"],
        **{name: SoftmaxRegressionClassifier._parameter_constraints[name] for name in _SHARED},
        "solver": [StrOptions({"auto", "lbfgs", "coordinate_descent"})],
    }

    @explains_other_names
    def __init__(
        self,
        *,
        Cs=10,
        l1_ratios=(0.0,),
        fit_intercept=True,
        cv=None,
        scoring=None,
        selection="best",
        refit=True,
        n_Cs_no_change=None,
        class_weight=None,
        label_smoothing=0.0,
        solver="auto",
        max_iter=1000,
        tol=1e-4,
        verbose=0,
        n_jobs=None,
        device=None,
    ):
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.scoring = scoring
        self.selection = selection
        self.refit = refit
        self.n_Cs_no_change = n_Cs_no_change
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.device = device

    def fit(self, X, y, sample_weight=None, **params):
        """Choose C and ``l1_ratio``, and fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features, in memory.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Class labels, or a distribution over the classes for each row.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, not negative. They count in the fits and in the scores.
        **params : dict
            ``groups`` for the splitter. With metadata routing enabled, whatever the splitter and
            the scorer ask for.

        Returns
        -------
        self : SoftmaxRegressionClassifierCV
            The fitted estimator. If fitting fails it is as it was before.
        """
        with BlasRestored():
            fitted = snapshot(self)
            fitted._fit_in_place(X, y, sample_weight, params)
        publish(self, fitted)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def _fit_in_place(self, X, y, sample_weight, params):
        refuse_dask(X, type(self).__name__)
        Cs = np.geomspace(1e-4, 1e4, self.Cs) if isinstance(self.Cs, Integral) else self.Cs
        Cs, l1_ratios = check_Cs(Cs), _checked_ratios(self.l1_ratios)
        with memory_errors_told(), on_device_of(X):
            data = check_training_data(self, X, y, sample_weight)
            for_splitter, for_scorer = self._routed(sample_weight, params)
            labels = data.classes[data.y] if data.y.ndim == 1 else data.strata
            splits = check_cv(self.cv, labels, classifier=True).split(X, labels, **for_splitter)
            rows = checked_folds(splits, data)
            classifier = self._classifier()
            n_fits = len(rows) * len(l1_ratios) * len(Cs)
            context = self._init_callback_context(max_subtasks=n_fits + 1)
            metadata = None if sample_weight is None else {"sample_weight": sample_weight}
            reported = {"X": X, "y": y, "metadata": metadata}
            context.call_on_fit_task_begin(estimator=self, **reported)
            report = _Report(self, context, reported, data.classes)
            with data.rows(self.n_jobs) as blocks, refused_if_not_finite(self, data):
                score: Any = LogLikelihood(data, blocks)
                if self.scoring is not None:
                    score = Scorer(get_scorer(self.scoring), classifier, X, y, for_scorer)
                folds = folds_of(classifier, data, blocks, rows, Cs)
                found = search(
                    folds,
                    l1_ratios,
                    Cs,
                    score=score,
                    fit_intercept=self.fit_intercept,
                    report=report,
                    patience=self.n_Cs_no_change,
                )
                i, j = select(found.scores, Cs, self.selection)
                model = mean_models(found.coefs[:, i, j], self.fit_intercept)
                not_converged, gap = found.not_converged, None
                if self.refit:
                    path = PenaltyPath(classifier, data, Penalties(classifier, blocks, Cs[[j]]))
                    path.start_from(model["coef_"], model["intercept_"])
                    report.begin(l1_ratios[i], Cs[j], None)
                    fitted = path.fit(Cs[j], l1_ratios[i])
                    model, gap = fitted.model, fitted.duality_gap
                    report.end(model)
                    if fitted.training.reason != "converged":
                        last = l1_ratios[i], Cs[j], None, fitted.training.reason
                        not_converged = [*not_converged, last]
            self._take(model, gap, data.classes, found)
            self.C_, self.l1_ratio_ = float(Cs[j]), float(l1_ratios[i])
            self.Cs_, self.l1_ratios_ = Cs, l1_ratios
            if not_converged:
                self._warn(not_converged, n_fits + self.refit)
        context.call_on_fit_task_end(estimator=self, **reported, reconstruction_attributes={})

    def _classifier(self):
        """Return the estimator that is fitted to each fold, with the features of this one."""
        classifier = SoftmaxRegressionClassifier(**{name: getattr(self, name) for name in _SHARED})
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(classifier, name, getattr(self, name))
        return classifier

    def _routed(self, sample_weight, params):
        """Return what is passed to the splitter, and to the scorer."""
        if _routing_enabled():
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
            return routed.splitter.split, {} if self.scoring is None else routed.scorer.score
        others = {name: value for name, value in params.items() if name != "groups"}
        _raise_for_params(others, self, "fit")
        for_scorer = {} if sample_weight is None else {"sample_weight": sample_weight}
        return {name: params[name] for name in params.keys() & {"groups"}}, for_scorer

    def _take(self, model, gap, classes, found):
        """Set the fitted attributes, and none but those of this fit."""
        self.__dict__.pop("duality_gap_", None)
        if gap is not None:
            self.duality_gap_ = gap
        self.coef_, self.intercept_ = model["coef_"], model["intercept_"]
        self.classes_ = classes
        self.scores_, self.coefs_paths_ = found.scores, found.coefs
        self.n_iter_ = found.n_iter

    def _warn(self, not_converged, n_fits):
        failed = [
            f"C={C:g}, l1_ratio={l1_ratio:g}, "
            + ("all rows" if fold is None else f"fold {fold}")
            + f" ({reason})"
            for l1_ratio, C, fold, reason in not_converged
        ]
        said = warning_of_ends(failed, n_fits, max_iter=self.max_iter, tol=self.tol)
        warnings.warn(said, ConvergenceWarning, stacklevel=5)

    def score(self, X, y, sample_weight=None, **params):
        """Return the score of the model by ``scoring``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Labels, or distributions where ``scoring`` takes them.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights.
        **params : dict
            What the scorer asks for, with metadata routing enabled.

        Returns
        -------
        float
            The higher the better; with ``scoring=None`` the mean log-likelihood, in nats.
        """
        _raise_for_params(params, self, "score")
        if self.scoring is None:
            model = snapshot(self)
            log_proba = in_memory(model.predict_log_proba(X), "X")
            return mean_log_likelihood(y, log_proba, model.classes_, sample_weight)
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        if _routing_enabled():
            params = process_routing(self, "score", **params).scorer.score
        return get_scorer(self.scoring)(self, X, y, **params)

    def get_metadata_routing(self):
        """Return what the splitter and the scorer may be passed.

        Returns
        -------
        routing : MetadataRouter
            See scikit-learn's user guide on metadata routing.
        """
        to_split = MethodMapping().add(caller="fit", callee="split")
        to_score = MethodMapping().add(caller="fit", callee="score")
        to_score.add(caller="score", callee="score")
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(splitter=self.cv, method_mapping=to_split)
        if self.scoring is None:  # (which takes the weights as fit does)
            return router
        return router.add(scorer=get_scorer(self.scoring), method_mapping=to_score)


class _Report:
    """Tells scikit-learn's callbacks, and standard output if verbose, of each fit."""

    def __init__(self, estimator, context, data, classes):
        self._estimator = estimator
        self._context = context
        self._data = data
        self._classes = classes
        self._has_callbacks = hasattr(estimator, "_skl_callbacks")

    def begin(self, l1_ratio, C, fold):
        """Announce a fit; ``fold`` is None for that to all rows."""
        if self._has_callbacks:
            where = "all rows" if fold is None else f"fold {fold}"
            name = f"C={C:g}, l1_ratio={l1_ratio:g}, {where}"
            self._task = self._context.subcontext(task_name=name)
            self._task.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def end(self, model):
        """Report a fit; return whether a callback asks to stop."""
        return self._has_callbacks and self._task.call_on_fit_task_end(
            estimator=self._estimator,
            **self._data,
            reconstruction_attributes={**model, "classes_": self._classes},
        )

    def scored(self, l1_ratio, C, scores):
        """Report the scores of all folds at one penalty."""
        if self._estimator.verbose:
            print(
                f"[{type(self._estimator).__name__}] l1_ratio={l1_ratio:g}, C={C:g}: score "
                f"{scores.mean():.6g} (standard deviation {scores.std():.2g})"
            )


def _checked_ratios(l1_ratios):
    values = as_list_of_numbers(l1_ratios)
    if values is None:
        raise ValueError(f"l1_ratios must be one number at least, in a list; got {l1_ratios!r}.")
    is_wrong = ~((values >= 0) & (values <= 1))
    if is_wrong.any():
        raise ValueError(f"l1_ratios must be numbers in [0, 1]; got {values[is_wrong][0]:g}.")
    return values
