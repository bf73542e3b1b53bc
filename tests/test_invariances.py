"""What must not change the fit, for any data that Hypothesis thinks of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit

from sklearn_softmax import SoftmaxRegressionClassifier


@st.composite
def problems(draw):
    """Small problems of 2 to 4 classes with whole-number weights, every class with weight."""
    n_classes = draw(st.integers(2, 4))
    n_rows = draw(st.integers(5 * n_classes, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    scales = 10.0 ** rng.uniform(-3, 3, 3)
    X = rng.standard_normal((n_rows, 3)) * scales + draw(st.sampled_from([0.0, 100.0])) * scales
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n_rows - n_classes)])
    weight = rng.integers(0, 4, n_rows).astype(float)
    weight[:n_classes] = 1.0
    return X, y, weight


penalties = st.sampled_from([(1.0, 0.0), (0.1, 0.0), (1.0, 1.0), (0.5, 0.4)])


def fit(X, y, weight=None, *, penalty=(1.0, 0.0), **options):
    C, l1_ratio = penalty
    clf = SoftmaxRegressionClassifier(C=C, l1_ratio=l1_ratio, tol=1e-8, **options)
    return clf.fit(X, y, weight)


def assert_same_probabilities(got, expected):
    assert_allclose(got, expected, atol=1e-6)


@given(problems(), penalties)
def test_weights_are_repetitions(problem, penalty):
    X, y, weight = problem
    repeated = np.repeat(np.arange(len(y)), weight.astype(int))
    weighted = fit(X, y, weight, penalty=penalty)
    expected = fit(X[repeated], y[repeated], penalty=penalty)
    assert_same_probabilities(weighted.predict_proba(X), expected.predict_proba(X))


@given(problems(), penalties)
def test_order_of_rows(problem, penalty):
    X, y, weight = problem
    expected = fit(X, y, weight, penalty=penalty).predict_proba(X)
    got = fit(X[::-1], y[::-1], weight[::-1], penalty=penalty).predict_proba(X)
    assert_same_probabilities(got, expected)


@given(problems(), penalties)
def test_order_of_classes(problem, penalty):
    X, y, weight = problem
    expected = fit(X, y, weight, penalty=penalty).predict_proba(X)
    got = fit(X, y.max() - y, weight, penalty=penalty).predict_proba(X)
    assert_same_probabilities(got[:, ::-1], expected)


@given(problems(), penalties)
def test_order_of_columns(problem, penalty):
    X, y, weight = problem
    expected = fit(X, y, weight, penalty=penalty).predict_proba(X)
    got = fit(X[:, ::-1], y, weight, penalty=penalty).predict_proba(X[:, ::-1])
    assert_same_probabilities(got, expected)


@given(problems(), st.sampled_from([1e-3, 7.0, 1e3]))
def test_scale_of_columns_without_a_penalty(problem, scale):
    X, y, _ = problem
    X = np.repeat(X, 4, axis=0) + 3 * X.std(axis=0) * np.tile([[0], [1], [2], [-1]], (len(X), 3))
    rng = np.random.default_rng(0)  # labels that no plane separates: there is an optimum
    y = rng.permutation(np.repeat(y, 4))
    factors = np.array([1.0, scale, 1.0])
    expected = fit(X, y, penalty=(np.inf, 0.0))
    got = fit(X * factors, y, penalty=(np.inf, 0.0))
    assert_same_probabilities(got.predict_proba(X * factors), expected.predict_proba(X))


@given(problems(), penalties)
def test_common_factor_of_features_and_penalty(problem, penalty):
    """W x stays if x is multiplied by s and W divided; so does |W|^2 C s^2, and |W| C s."""
    X, y, weight = problem
    C, l1_ratio = penalty
    if 0 < l1_ratio < 1:
        return
    expected = fit(X, y, weight, penalty=penalty).predict_proba(X)
    factor = 10.0
    scaled_C = C / factor ** (1 if l1_ratio else 2)
    got = fit(X * factor, y, weight, penalty=(scaled_C, l1_ratio)).predict_proba(X * factor)
    assert_same_probabilities(got, expected)


@given(problems(), penalties, st.sampled_from([0.5, 3.0]))
def test_common_factor_of_weights_and_penalty(problem, penalty, factor):
    X, y, weight = problem
    C, l1_ratio = penalty
    expected = fit(X, y, weight, penalty=penalty).predict_proba(X)
    got = fit(X, y, weight * factor, penalty=(C / factor, l1_ratio)).predict_proba(X)
    assert_same_probabilities(got, expected)


@given(problems())
def test_offset_of_columns(problem):
    """The intercept is not penalised, so it takes up any offset."""
    X, y, weight = problem
    expected = fit(X, y, weight).predict_proba(X)
    shifted = X + 50 * X.std(axis=0)
    assert_same_probabilities(fit(shifted, y, weight).predict_proba(shifted), expected)


@given(problems())
def test_two_classes_are_a_sigmoid(problem):
    X, y, weight = problem
    binary = fit(X, y % 2, weight)
    log_odds = binary.decision_function(X)
    assert_allclose(binary.predict_proba(X)[:, 1], expit(log_odds), rtol=1e-12)
    assert_allclose(log_odds, (X @ binary.coef_.T + binary.intercept_)[:, 0], rtol=1e-9)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_rows_without_weight_are_absent(solver, iris):
    X, y = iris
    weight = np.where(np.arange(150) % 2 == 0, 1.0, 0.0)
    options = {"solver": solver, "random_state": 0, "tol": 1e-8}
    if solver == "sgd":
        options |= {"shuffle": False, "batch_size": 20, "tol": 1e-4}
    expected = SoftmaxRegressionClassifier(**options).fit(X[::2], y[::2])
    wild = np.where(weight[:, None] > 0, X, 1e6)
    clf = SoftmaxRegressionClassifier(**options).fit(wild, y, weight)
    assert_allclose(clf.predict_proba(X), expected.predict_proba(X), atol=1e-5)
