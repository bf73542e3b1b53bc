"""Names that other libraries use: an error says what to write instead."""

import functools
import inspect
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import InvalidParameterError

_PENALTIES = {
    "l2": "leave it out: L2 is the default, l1_ratio=0",
    "l1": "write l1_ratio=1",
    "elasticnet": "write l1_ratio=0.5, or whatever share of L1 you want",
    None: "write C=numpy.inf",
    "none": "write C=numpy.inf",
}
_MULTI_CLASS = {
    "ovr": "for one binary model per class, write "
    "sklearn.multiclass.OneVsRestClassifier({name}(...))",
}
_SAME_OPTIMUM = 'write solver="auto" or leave it out: it finds the same optimum'
_MINIBATCHES = 'for minibatches, write solver="sgd"'

# Parameters of estimators of the same model, and what does the same here.
_PARAMETERS = {
    "penalty": lambda value: _looked_up(
        _PENALTIES, value, "write l1_ratio (0 is L2, 1 is L1), or C=numpy.inf for no penalty"
    ),
    "dual": lambda value: "leave it out: no solver needs to be told",
    "intercept_scaling": lambda value: (
        "leave it out: the intercept is not penalised, so there is nothing to scale"
    ),
    "multi_class": lambda value: _looked_up(
        _MULTI_CLASS, value, "leave it out: one model is fitted to all classes"
    ),
    "loss": lambda value: "leave it out: the loss is always the cross-entropy (log loss)",
    "alpha": lambda value: (
        "write C=1 / (alpha * n_samples) for what SGDClassifier calls alpha, or C=1 / alpha for "
        "what MLPClassifier calls alpha"
    ),
    "eta0": lambda value: "write learning_rate_init",
    "hidden_layer_sizes": lambda value: "leave it out: a softmax regression has no hidden layers",
}
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
            if name not in names and name in _PARAMETERS:
                raise TypeError(_explanation(self, name, value))
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
            if name not in names and name in _PARAMETERS:
                raise ValueError(_explanation(self, name, value))
        return super().set_params(**params)

    def _validate_params(self):
        if isinstance(self.solver, str) and self.solver in _SOLVERS:
            raise InvalidParameterError(
                f"{type(self).__name__} has no solver={self.solver!r}. Instead, "
                f"{_SOLVERS[self.solver]}."
            )
        super()._validate_params()


def _explanation(estimator, name, value):
    owner = type(estimator).__name__
    advice = _PARAMETERS[name](value).format(name=owner)
    return (
        f"{owner} has no parameter {name!r} (got {name}={value!r}). Instead, {advice}. The page "
        '"Coming from LogisticRegression" of the documentation lists all such names.'
    )


def _looked_up(advice, value, otherwise):
    is_key = value is None or isinstance(value, str)
    return advice.get(value, otherwise) if is_key else otherwise
