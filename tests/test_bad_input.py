"""Bad input: a message that names what is wrong, and nothing changed by the attempt."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._targets import split_rows

X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
y = np.array([0, 0, 1, 1])


def with_value(value, array=X):
    array = array.astype(float)
    array.flat[1] = value
    return array


FITS = {
    "nan in X": ((with_value(np.nan), y), r"Input X contains NaN"),
    "inf in X": ((with_value(np.inf), y), r"Input X contains infinity"),
    "nan in sparse X": ((sp.csr_array(with_value(np.nan)), y), r"Input X contains NaN"),
    "nan in y": ((X, with_value(np.nan, y)), r"Input y contains NaN"),
    "continuous y": ((X, y + 0.5 * X[:, 1]), r"Unknown label type: continuous"),
    "no y": ((X, None), r"requires y to be passed"),
    "one class": (
        (X, [1, 1, 1, 1]),
        r"at least 2 classes in the data.*only one class: 1",
    ),
    "lengths": ((X, y[:3]), r"inconsistent numbers of samples"),
    "nan in weights": ((X, y, with_value(np.nan, y)), r"Input sample_weight contains NaN"),
    "inf in weights": ((X, y, with_value(np.inf, y)), r"Input sample_weight contains infinity"),
    "negative weights": (
        (X, y, [1, -1, 1, 1]),
        r"Negative values in data passed to `sample_weight`",
    ),
    "no weights": ((X, y, np.zeros(4)), r"at least one non-zero number|leave no row a weight"),
    "length of weights": ((X, y, np.ones(3)), r"sample_weight.shape == \(3,\), expected \(4,\)"),
    "text in X": (
        (np.array([["a", "b"]] * 4), y),
        r"could not convert string to float|not.*numeric",
    ),
    "complex X": ((X + 1j, y), r"Complex data not supported"),
    "1-dimensional X": ((X[:, 0], y), r"Expected 2D array, got 1D array"),
    "no rows": ((X[:0], y[:0]), r"Found array with 0 sample"),
    "too large to be squared": ((with_value(1e200), y), r"too large to be squared.*in column 1"),
}


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize("name", FITS)
def test_fit(name, solver):
    arguments, message = FITS[name]
    fresh = SoftmaxRegressionClassifier(solver=solver, random_state=0)
    with pytest.raises(ValueError, match=message):
        fresh.fit(*arguments)
    assert not [attribute for attribute in vars(fresh) if attribute.endswith("_")]

    fitted = SoftmaxRegressionClassifier(solver=solver, random_state=0).fit(X, y)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match=message):
        fitted.fit(*arguments)
    assert vars(fitted) == before
    fitted.predict(X)


PARAMETERS = {
    "C": ([0, -1, "a", np.nan], r"'C' parameter .* must be a float in the range \(0"),
    "l1_ratio": ([-0.1, 1.1, None], r"'l1_ratio' parameter .* range \[0.0, 1.0\]"),
    "label_smoothing": ([-0.1, 1.0], r"'label_smoothing' parameter"),
    "solver": (["newton"], r"'solver' parameter .* must be a str among .*'auto'"),
    "max_iter": ([-1, 1.5], r"'max_iter' parameter"),
    "tol": ([-1e-3], r"'tol' parameter"),
    "batch_size": ([0, 2.5], r"'batch_size' parameter"),
    "learning_rate": (["fast"], r"'learning_rate' parameter"),
    "learning_rate_init": ([0.0, -1.0, "slow"], r"'learning_rate_init' parameter"),
    "momentum": ([1.0, -0.1], r"'momentum' parameter"),
    "validation_fraction": ([0.0, 1.0], r"'validation_fraction' parameter"),
    "n_iter_no_change": ([0], r"'n_iter_no_change' parameter"),
    "class_weight": (["even"], r"'class_weight' parameter"),
    "device": (["gpu"], r"'device' parameter"),
    "n_jobs": ([1.5], r"'n_jobs' parameter"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    values, message = PARAMETERS[name]
    for value in values:
        with pytest.raises(InvalidParameterError, match=message):
            SoftmaxRegressionClassifier(**{name: value}).fit(X, y)


def test_no_threads():
    with pytest.raises(ValueError, match="n_jobs == 0"):
        SoftmaxRegressionClassifier(n_jobs=0).fit(X, y)


def test_class_weight_without_any_weight():
    clf = SoftmaxRegressionClassifier(class_weight={0: 0.0, 1: 0.0})
    with pytest.raises(ValueError, match="class_weight and sample_weight leave no row a weight"):
        clf.fit(X, y)


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
def test_prediction(method):
    clf = SoftmaxRegressionClassifier()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(clf, method)(X)
    predict = getattr(clf.fit(X, y), method)
    with pytest.raises(ValueError, match=r"X has 1 features.*expecting 2 features"):
        predict(X[:, :1])
    for make in (np.asarray, sp.csr_array):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            predict(make(with_value(np.nan)))
        with pytest.raises(ValueError, match="Input X contains infinity"):
            predict(make(with_value(np.inf)))
        # Its logits overflow, but X is finite.
        assert len(predict(make(with_value(1e308) * [1.0, -1.0]))) == len(X)


def test_feature_names():
    import pandas as pd

    frame = pd.DataFrame(X, columns=["a", "b"])
    clf = SoftmaxRegressionClassifier().fit(frame, y)
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict(frame.rename(columns={"b": "c"}))


PARTIAL_FITS = {
    "no classes": ({}, (X, y), r"classes must be passed at the first call of partial_fit"),
    "unseen": (
        {},
        (X, [0, 0, 1, 5], [0, 1]),
        r"labels that are not in classes: \[5\].*they are \[0, 1\]",
    ),
    "one class": ({}, (X, [0] * 4, [0]), r"at least 2 classes"),
    "early stopping": ({"early_stopping": True}, (X, y, [0, 1]), r"early_stopping=True"),
    "balanced": ({"class_weight": "balanced"}, (X, y, [0, 1]), r"class_weight='balanced'"),
    "columns": ({}, (X, np.eye(4)[:, :3] + 0, [0, 1]), r"3 columns of prob.*2 classes"),
}


@pytest.mark.parametrize("name", PARTIAL_FITS)
def test_first_partial_fit(name):
    options, arguments, message = PARTIAL_FITS[name]
    clf = SoftmaxRegressionClassifier(**options)
    with pytest.raises(ValueError, match=message):
        clf.partial_fit(*arguments)
    assert not [attribute for attribute in vars(clf) if attribute.endswith("_")]


def test_later_partial_fit():
    clf = SoftmaxRegressionClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    before = dict(vars(clf))
    for arguments, message in (
        ((X, [0, 0, 1, 3]), "labels that are not in classes: \\[3\\]"),
        ((X, y, [0, 1]), "cannot change between calls of partial_fit"),
        ((X[:, :1], y), r"X has 1 features.*expecting 2 features"),
        ((with_value(np.nan), y), "Input X contains NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            clf.partial_fit(*arguments)
        assert vars(clf) == before


def test_diverging_sgd_says_what_to_lower(wine):
    X, y = wine
    clf = SoftmaxRegressionClassifier(solver="sgd", learning_rate_init=1e308, random_state=0)
    with pytest.raises(ValueError, match=r"diverged at a learning rate of 1e\+308. Lower learning"):
        clf.fit(X, y)
    assert not hasattr(clf, "coef_")
    clf.set_params(learning_rate_init="auto").fit(X, y)
    coef = clf.coef_
    clf.set_params(learning_rate_init=1e300)
    with pytest.raises(ValueError, match="diverged"):
        clf.partial_fit(X * 1e10, 2 - y)
    assert_array_equal(clf.coef_, coef)


def test_sgd_that_ends_above_its_start_says_what_to_lower(wine):
    X, y = wine
    options = {"learning_rate": "constant", "learning_rate_init": 0.1, "random_state": 0}
    clf = SoftmaxRegressionClassifier(solver="sgd", **options)
    with pytest.warns(ConvergenceWarning, match="is above that of .*too large.*Lower learning"):
        clf.fit(X, y)


def test_overflow_in_several_threads_is_told_by_the_error_alone():
    large = np.ones((40_000, 60))
    large[::2, 3] = 1e200
    labels = np.arange(40_000) % 2
    with pytest.raises(ValueError, match="too large to be squared in float64, in column 3"):
        SoftmaxRegressionClassifier(n_jobs=2).fit(large, labels)


def test_loss_not_finite_at_the_start():
    clf = SoftmaxRegressionClassifier(warm_start=True).fit(X, y)
    clf.coef_[:] = [1e200, -1e200]
    with pytest.raises(ValueError, match="not finite at the start of the fit"):
        clf.fit(X, y)


def test_warm_start_with_other_classes_or_features():
    clf = SoftmaxRegressionClassifier(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="warm_start needs the classes and features"):
        clf.fit(X, [0, 1, 2, 2])
    with pytest.raises(ValueError, match="warm_start needs the classes and features"):
        clf.fit(X[:, :1], y)
    clf.predict(X)


def test_interrupted_fit_leaves_a_usable_estimator(wine, monkeypatch):
    X, y = wine
    clf = SoftmaxRegressionClassifier().fit(X, y)
    before = dict(vars(clf))
    monkeypatch.setattr(
        "sklearn_softmax._fitting.train",
        lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt),
    )
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert vars(clf) == before


@pytest.mark.parametrize(("solver", "unit"), [("lbfgs", "iterations"), ("sgd", "epochs")])
def test_convergence_warning_says_what_to_change(wine, solver, unit):
    X, y = wine
    clf = SoftmaxRegressionClassifier(solver=solver, max_iter=2, random_state=0)
    message = f"{solver} did not converge in max_iter=2 {unit}. Increase max_iter, or tol"
    with pytest.warns(ConvergenceWarning, match=message):
        clf.fit(X, y)
    assert_array_equal(clf.n_iter_, [2])
    assert len(clf.loss_curve_) == 2


def test_what_is_not_finite_in_the_validation_rows_is_told(iris):
    X, y = iris
    X = X.copy()
    X[split_rows(y, None, 0.1, 0)[1][0], 2] = np.nan
    for rate in ("auto", 0.01):
        options = {"early_stopping": True, "learning_rate_init": rate, "random_state": 0}
        with pytest.raises(ValueError, match="Input X contains NaN"):
            SoftmaxRegressionClassifier(solver="sgd", **options).fit(X, y)


KINDS = {"dense": np.asarray, "fortran": np.asfortranarray, "csr": sp.csr_array}
OPTIONS = {
    "lbfgs": {},
    "L1": {"l1_ratio": 0.5},
    "sgd": {"solver": "sgd"},
    "sgd at a rate": {"solver": "sgd", "learning_rate_init": 0.01},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.5},
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(50, 4), (30, 60), (8000, 200)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS)
def test_what_is_not_finite_in_x_is_told(rng, value, shape, kind, options):
    """X is not searched for it; whatever fails of it, the error says why."""
    X = rng.standard_normal(shape)
    X[np.abs(X) < 0.5] = 0.0
    X[shape[0] // 2, shape[1] // 2] = value
    y = np.arange(shape[0]) % 13 % 5
    clf = SoftmaxRegressionClassifier(**OPTIONS[options], random_state=0)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        clf.fit(KINDS[kind](X), y)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        clf.set_params(early_stopping=False).partial_fit(KINDS[kind](X), y, classes=range(5))
    assert not hasattr(clf, "coef_")


@pytest.mark.needs_sklearn("1.8")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [int, float, str])
def test_labels_that_look_like_a_regression_are_told(dtype):
    rows, labels = np.arange(30.0).reshape(-1, 1), np.arange(30).astype(dtype)
    with pytest.warns(UserWarning, match="number of unique classes is greater than 50%"):
        SoftmaxRegressionClassifier(max_iter=1).fit(rows, labels)
