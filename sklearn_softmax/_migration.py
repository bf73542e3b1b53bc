"""Names that other libraries use: an error says what to write instead."""

import functools
import inspect
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import InvalidParameterError

_SEVERAL = "SoftmaxRegressionClassifierCV has it, and chooses C by cross-validation"
_SAME_OPTIMUM = 'write solver="auto" or leave it out: it finds the same optimum'
_MINIBATCHES = 'for minibatches, write solver="sgd"'

# Advice for parameters, by their value; under ... for any other. {l1} and the like stand for what
# the estimator has: see _words.
_PARAMETERS: dict[str, dict] = {
    "penalty": {
        "l2": "leave it out: L2 is the default, {l2}",
        "l1": "write {l1}",
        "elasticnet": "write {mixed}, or whatever share of L1 you want",
        None: "write {unpenalised}",
        "none": "write {unpenalised}",
        ...: "write {l2} for L2, {l1} for L1, or {unpenalised} for no penalty",
    },
    "multi_class": {
        "ovr": "for one binary model per class, write "
        "sklearn.multiclass.OneVsRestClassifier(SoftmaxRegressionClassifier(...))",
        ...: "leave it out: one model is fitted to all classes",
    },
    "dual": {...: "leave it out: no solver needs to be told"},
    "intercept_scaling": {
        ...: "leave it out: the intercept is not penalised, so there is nothing to scale"
    },
    "loss": {...: "leave it out: the loss is always the cross-entropy (log loss)"},
    "random_state": {...: "leave it out: nothing is drawn at random"},
    "use_legacy_attributes": {
        ...: "leave it out: attributes are those of use_legacy_attributes=False"
    },
}
_OF_CLASSIFIER: dict[str, dict] = {
    "alpha": {
        ...: "write C=1 / (alpha * n_samples) for what SGDClassifier calls alpha, or C=1 / alpha "
        "for what MLPClassifier calls alpha"
    },
    "eta0": {...: "write learning_rate_init"},
    "hidden_layer_sizes": {...: "leave it out: a softmax regression has no hidden layers"},
    **{name: {...: _SEVERAL} for name in ("Cs", "l1_ratios", "cv", "scoring", "refit")},
}
_OF_SEARCH: dict[str, dict] = {"C": {...: "write Cs"}, "l1_ratio": {...: "write l1_ratios"}}
_SOLVERS = {
    "liblinear": f"{_SAME_OPTIMUM}, except that liblinear penalises the intercept as well",
    "newton-cg": _SAME_OPTIMUM,
    "newton-cholesky": _SAME_OPTIMUM,
    "sag": f"{_SAME_OPTIMUM}; {_MINIBATCHES}",
    "saga": f"{_SAME_OPTIMUM}; {_MINIBATCHES}",
    "adam": f"{_SAME_OPTIMUM}; {_MINIBATCHES}",
}


def explains_other_names(init):
    """Let a constructor say what to write instead of a keyword that another library has.

    The signature of the constructor stays as it is: ``inspect.signature`` follows
    ``__wrapped__``, and scikit-learn reads the parameters from there.
    """
    names = inspect.signature(init).parameters

    @functools.wraps(init)
    def explaining_init(self, *args, **kwargs):
        for name, value in kwargs.items():
            advice = None if name in names else _advice(names, name, value)
            if advice is not None:
                raise TypeError(_explanation(self, name, value, advice))
        init(self, *args, **kwargs)

    return explaining_init


class OtherNamesMixin(BaseEstimator):
    """Explains in ``set_params`` and ``fit`` what ``__init__`` does not see."""

    solver: Any

    def set_params(self, **params):
        """Set the parameters of this estimator.

        Parameters
        ----------
        **params : dict
            Values by the name of the parameter.

        Returns
        -------
        self : estimator instance
        """
        names = self._get_param_names()
        for name, value in params.items():
            advice = None if name in names else _advice(names, name, value)
            if advice is not None:
                raise ValueError(_explanation(self, name, value, advice))
        return super().set_params(**params)

    def _validate_params(self):
        if isinstance(self.solver, str) and self.solver in _SOLVERS:
            advice = _SOLVERS[self.solver]
            if "batch_size" not in self._get_param_names():
                advice = advice.removesuffix(f"; {_MINIBATCHES}")
            raise InvalidParameterError(
                f"{type(self).__name__} has no solver={self.solver!r}. Instead, {advice}."
            )
        super()._validate_params()


def _advice(names, name, value):
    """Return what to write instead of a parameter that is not among the names; None if unknown."""
    is_search = "Cs" in names
    by_value = {**_PARAMETERS, **(_OF_SEARCH if is_search else _OF_CLASSIFIER)}.get(name)
    if by_value is None:
        return None
    is_key = value is None or isinstance(value, str)
    advice = by_value.get(value, by_value[...]) if is_key else by_value[...]
    return advice.format(**_words(is_search))


def _words(is_search):
    """Return how penalties are written."""
    ratio, C = (
        ("l1_ratios=({},)", "Cs=[numpy.inf]") if is_search else ("l1_ratio={}", "C=numpy.inf")
    )
    shares = {"l2": 0, "l1": 1, "mixed": 0.5}
    return {"unpenalised": C, **{name: ratio.format(share) for name, share in shares.items()}}


def _explanation(estimator, name, value, advice):
    return (
        f"{type(estimator).__name__} has no parameter {name!r} (got {name}={value!r}). Instead, "
        f'{advice}. The page "Coming from LogisticRegression" of the documentation lists all such '
        "names."
    )
