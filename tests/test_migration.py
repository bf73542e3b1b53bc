"""Names of other libraries: an error says what to write instead, and what it says is right."""

import inspect
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV

from .optimum import logistic_regression

ADVICE = {
    "L1": ({"penalty": "l1"}, r"penalty='l1'.*write l1_ratio=1\."),
    "L2": ({"penalty": "l2"}, r"penalty='l2'.*leave it out: L2 is the default"),
    "elastic net": ({"penalty": "elasticnet"}, r"write l1_ratio=0\.5"),
    "no penalty": ({"penalty": None}, r"write C=numpy\.inf"),
    "unknown penalty": (
        {"penalty": [1]},
        r"write l1_ratio=0 for L2, l1_ratio=1 for L1, or C=numpy\.inf",
    ),
    "dual": ({"dual": False}, r"'dual'.*leave it out"),
    "scaling": ({"intercept_scaling": 1}, r"intercept is not penalised"),
    "one against the rest": (
        {"multi_class": "ovr"},
        r"OneVsRestClassifier\(SoftmaxRegressionClassifier\(\.\.\.\)\)",
    ),
    "multinomial": ({"multi_class": "multinomial"}, r"leave it out: one model"),
    "loss": ({"loss": "log_loss"}, r"always the cross-entropy"),
    "alpha": ({"alpha": 1e-4}, r"C=1 / \(alpha \* n_samples\)"),
    "eta0": ({"eta0": 0.1}, r"write learning_rate_init"),
    "layers": ({"hidden_layer_sizes": ()}, r"no hidden layers"),
    "several C": ({"Cs": 10}, r"SoftmaxRegressionClassifierCV has it"),
}
ADVICE_OF_SEARCH = {
    "L1": ({"penalty": "l1"}, r"write l1_ratios=\(1,\)"),
    "no penalty": ({"penalty": None}, r"write Cs=\[numpy\.inf\]"),
    "C": ({"C": 1.0}, r"write Cs"),
    "one against the rest": ({"multi_class": "ovr"}, r"OneVsRestClassifier"),
    "random state": ({"random_state": 0}, r"nothing is drawn"),
    "attributes": ({"use_legacy_attributes": False}, r"leave it out"),
}


@pytest.mark.parametrize("name", ADVICE)
def test_parameters_of_others(name):
    parameters, advice = ADVICE[name]
    with pytest.raises(TypeError, match=advice):
        SoftmaxRegressionClassifier(**parameters)
    clf = SoftmaxRegressionClassifier()
    before = clf.get_params()
    with pytest.raises(ValueError, match=advice):
        clf.set_params(C=3.0, **parameters)
    assert clf.get_params() == before


@pytest.mark.parametrize("name", ADVICE_OF_SEARCH)
def test_parameters_of_logistic_regression_cv(name):
    parameters, advice = ADVICE_OF_SEARCH[name]
    with pytest.raises(TypeError, match=advice):
        SoftmaxRegressionClassifierCV(**parameters)
    with pytest.raises(ValueError, match=advice):
        SoftmaxRegressionClassifierCV().set_params(**parameters)
    with pytest.raises(TypeError, match="unexpected keyword argument 'eta0'"):
        SoftmaxRegressionClassifierCV(eta0=0.1)


def test_solvers_of_logistic_regression_cv(wine):
    with pytest.raises(InvalidParameterError, match='"auto" or leave it out') as caught:
        SoftmaxRegressionClassifierCV(solver="saga").fit(*wine)
    assert "sgd" not in str(caught.value)


def test_a_grid_over_a_parameter_of_others(wine):
    search = GridSearchCV(SoftmaxRegressionClassifier(), {"penalty": ["l1", "l2"]})
    with pytest.raises(ValueError, match="write l1_ratio=1"):
        search.fit(*wine)


def test_unknown_names_are_refused_as_ever():
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        SoftmaxRegressionClassifier(nonsense=1)
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        SoftmaxRegressionClassifier().set_params(nonsense=1)


@pytest.mark.parametrize("solver", ["liblinear", "newton-cg", "newton-cholesky", "sag", "saga"])
def test_solvers_of_others(wine, solver):
    clf = SoftmaxRegressionClassifier(solver=solver)
    for fit in (clf.fit, clf.partial_fit):
        with pytest.raises(InvalidParameterError, match=f"solver='{solver}'.*solver=\"auto\""):
            fit(*wine)
    assert not hasattr(clf, "classes_")
    # The names are those that LogisticRegression has.
    (names,) = LogisticRegression._parameter_constraints["solver"]
    assert solver in names.options


def test_no_solver_of_logistic_regression_goes_without_advice(wine):
    (names,) = LogisticRegression._parameter_constraints["solver"]
    for solver in names.options - {"lbfgs"}:
        with pytest.raises(InvalidParameterError, match="Instead"):
            SoftmaxRegressionClassifier(solver=solver).fit(*wine)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        (SoftmaxRegressionClassifier, LogisticRegression),
        (SoftmaxRegressionClassifierCV, LogisticRegressionCV),
    ],
)
def test_no_parameter_of_logistic_regression_goes_without_advice(kind, reference):
    ours = inspect.signature(kind).parameters
    for name in inspect.signature(reference).parameters:
        if name not in ours:
            with pytest.raises(TypeError, match="Instead"):
                kind(**{name: None})


def test_the_constructor_has_its_own_signature():
    class Child(SoftmaxRegressionClassifier):
        def __init__(self, *, C=2.0, extra=0):
            super().__init__(C=C)
            self.extra = extra

    assert list(inspect.signature(Child).parameters) == ["C", "extra"]
    assert clone(Child(extra=3)).get_params() == {"C": 2.0, "extra": 3}
    signature = inspect.signature(SoftmaxRegressionClassifier)
    assert all(part.kind is part.KEYWORD_ONLY for part in signature.parameters.values())


SAME_MODELS = {
    "l2": ({"C": 0.1}, {}),
    "l1": ({"C": 0.1, "l1_ratio": 1}, {"solver": "saga"}),
    "elasticnet": ({"C": 0.1, "l1_ratio": 0.5}, {"solver": "saga"}),
}


@pytest.mark.parametrize("name", SAME_MODELS)
def test_what_is_advised_is_the_same_model(iris, name):
    """At a tight tolerance, as only the optimum is determined."""
    X, y = StandardScaler().fit_transform(iris[0]), iris[1]
    ours, theirs = SAME_MODELS[name]
    reference = logistic_regression(**ours, **theirs, tol=1e-10, max_iter=100_000).fit(X, y)
    clf = SoftmaxRegressionClassifier(**ours, tol=1e-8).fit(X, y)
    assert_allclose(clf.predict_proba(X), reference.predict_proba(X), atol=1e-5)


IDLE = {
    "batch_size": 64,
    "learning_rate": "constant",
    "learning_rate_init": 0.1,
    "warmup_steps": 5,
    "momentum": 0.5,
    "nesterovs_momentum": True,
    "average": False,
    "shuffle": False,
}


@pytest.mark.parametrize("name", IDLE)
def test_parameters_of_sgd_do_not_pass_in_silence_with_another_solver(wine, name):
    value = IDLE[name]
    clf = SoftmaxRegressionClassifier(**{name: value})
    with pytest.warns(UserWarning, match=f"no effect: {name}={value!r}.*solver is 'auto'"):
        clf.fit(*wine)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Parameters that had no effect")
        warnings.filterwarnings("ignore", message="SGD|sgd")
        clf.set_params(solver="sgd", max_iter=2, random_state=0).fit(*wine)


def test_a_grid_search_over_parameters_of_sgd_warns(wine):
    search = GridSearchCV(SoftmaxRegressionClassifier(), {"batch_size": [16, 64]}, cv=2)
    with pytest.warns(UserWarning, match="Parameters that had no effect: batch_size=(16|64)"):
        search.fit(*wine)


def test_the_warning_can_be_turned_into_an_error(wine):
    clf = SoftmaxRegressionClassifier(momentum=0.5)
    with pytest.raises(UserWarning, match=r"momentum=0\.5"):
        clf.fit(*wine)  # (Here, every warning is an error.)
    assert not hasattr(clf, "coef_")


def test_alpha_of_sgd_and_mlp_is_as_the_advice_says(iris):
    """C=1 / (alpha * n_samples), and C=1 / alpha: by the objectives that those two document."""
    X, y = StandardScaler().fit_transform(iris[0]), iris[1]
    alpha, n_samples = 0.01, len(y)
    for C, weight in ((1 / (alpha * n_samples), alpha), (1 / alpha, alpha / n_samples)):
        clf = SoftmaxRegressionClassifier(C=C, tol=1e-8).fit(X, y)
        proba, one_hot = clf.predict_proba(X), np.eye(3)[y]
        gradient = (proba - one_hot).T @ X / n_samples + weight * clf.coef_
        assert_allclose(gradient, 0, atol=1e-6)
