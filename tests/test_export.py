"""Ways out of a model: LogisticRegression, and tables of coefficients."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV

from .optimum import converged


@pytest.fixture(params=[2, 3])
def data(request, wine):
    X, y = wine
    rows = y < request.param
    columns = [f"feature {j}" for j in range(X.shape[1])]
    return pd.DataFrame(StandardScaler().fit_transform(X[rows]), columns=columns), np.array(
        ["red", "green", "blue"]
    )[y[rows]]


PENALTIES = [
    {"C": 0.1},
    {"C": 0.1, "l1_ratio": 1.0},
    {"C": 0.1, "l1_ratio": 0.5},
    {"C": 0.1, "fit_intercept": False},
    {"C": 0.1, "class_weight": "balanced"},
]


@pytest.mark.parametrize("options", PENALTIES)
def test_logistic_regression_with_the_same_predictions(data, options):
    X, y = data
    clf = converged(**options).fit(X, y)
    model = clf.to_logistic_regression()
    assert type(model) is LogisticRegression
    assert_array_equal(model.predict(X), clf.predict(X))
    assert_allclose(model.predict_proba(X), clf.predict_proba(X), atol=1e-12)
    assert_allclose(model.decision_function(X), clf.decision_function(X), atol=1e-12)
    assert model.score(X, y) == clf.score(X, y)
    assert_array_equal(model.feature_names_in_, X.columns)


@pytest.mark.parametrize("options", PENALTIES)
def test_its_parameters_have_the_same_optimum(data, options):
    X, y = data
    clf = converged(**options).fit(X, y)
    again = clone(clf.to_logistic_regression()).set_params(tol=1e-10, max_iter=100_000)
    assert_allclose(again.fit(X, y).predict_proba(X), clf.predict_proba(X), atol=1e-5)


# (scikit-learn 1.8 says that of any C but 1, and C is how it wants the penalty to be switched off.)
@pytest.mark.filterwarnings("ignore:Setting penalty=None will ignore the C:UserWarning")
def test_without_a_penalty(iris):
    """For versicolor and virginica, which overlap."""
    X, y = iris[0][50:, :2], iris[1][50:]
    clf = converged(C=np.inf).fit(X, y)
    again = clone(clf.to_logistic_regression()).set_params(tol=1e-10, max_iter=10_000)
    assert_allclose(again.fit(X, y).predict_proba(X), clf.predict_proba(X), atol=1e-5)


def test_logistic_regression_shares_nothing(data):
    X, y = data
    clf = SoftmaxRegressionClassifier().fit(X, y)
    before = clf.predict_proba(X)
    model = clf.to_logistic_regression()
    for name in ("coef_", "intercept_"):
        getattr(model, name)[...] = 0
    model.classes_[...] = "none"
    assert_array_equal(clf.predict_proba(X), before)
    assert_array_equal(np.unique(clf.predict(X)), clf.classes_)


def test_logistic_regression_of_other_models(data):
    X, y = data
    sparse = SoftmaxRegressionClassifier(l1_ratio=1.0, C=0.1).fit(X, y).sparsify()
    assert_allclose(sparse.to_logistic_regression().predict_proba(X), sparse.predict_proba(X))
    chosen = SoftmaxRegressionClassifierCV(Cs=[0.01, 1.0], cv=3).fit(X, y)
    model = chosen.to_logistic_regression()
    assert model.C == chosen.C_
    assert_allclose(model.predict_proba(X), chosen.predict_proba(X), atol=1e-12)
    single = SoftmaxRegressionClassifier().fit(X.astype(np.float32), y)
    assert single.to_logistic_regression().coef_.dtype == np.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(model.predict(X), chosen.predict(X))


def test_logistic_regression_needs_a_fit():
    for method in ("to_logistic_regression", "coef_table"):
        with pytest.raises(NotFittedError):
            getattr(SoftmaxRegressionClassifier(), method)()


# Tables of coefficients --------------------------------------------------------------------


def test_a_table_of_three_classes(wine):
    X, y = wine
    clf = SoftmaxRegressionClassifier().fit(X, y)
    table = clf.coef_table()
    assert table.index.names == ["feature", "class"]
    assert len(table) == X.shape[1] * 3
    for j in range(X.shape[1]):
        assert_allclose(table.loc[f"x{j}", "coefficient"], clf.coef_[:, j])
    assert_array_equal(table["coefficient"].unstack("class").columns, [0, 1, 2])
    # Against the geometric mean of the classes.
    logits = clf.decision_function(X[:1] + np.eye(13)) - clf.decision_function(X[:1])
    factors = np.exp(logits - logits.mean(axis=1, keepdims=True))
    for j in range(X.shape[1]):
        assert_allclose(table.loc[f"x{j}", "odds_ratio"], factors[j], rtol=1e-6)


def test_odds_ratios_against_a_reference(data):
    X, y = data
    clf = SoftmaxRegressionClassifier().fit(X, y)
    for reference in clf.classes_:
        table = clf.coef_table(reference=reference)
        others = [label for label in clf.classes_ if label != reference]
        assert table.loc["feature 0"].index.tolist() == others
        row = X.iloc[:1].copy()
        proba = pd.DataFrame(clf.predict_proba(row), columns=clf.classes_)
        row["feature 3"] += 1.0
        raised = pd.DataFrame(clf.predict_proba(row), columns=clf.classes_)
        for label in others:
            odds = (proba[label] / proba[reference])[0]
            expected = (raised[label] / raised[reference])[0] / odds
            assert_allclose(table.loc[("feature 3", label), "odds_ratio"], expected)


def test_the_odds_ratios_of_a_lasso_do_not_depend_on_where_its_coefficients_are(wine):
    """With L1 they are not centred; a constant added to all classes changes no odds."""
    X, y = wine
    clf = SoftmaxRegressionClassifier(l1_ratio=1.0, C=0.1).fit(X, y)
    before = clf.coef_table()
    assert np.abs(clf.coef_.mean(axis=0)).max() > 1e-6
    clf.coef_ = clf.coef_ + 1.0
    assert_allclose(clf.coef_table()["odds_ratio"], before["odds_ratio"])


def test_scales(data):
    X, y = data
    clf = SoftmaxRegressionClassifier().fit(X, y)
    scale = np.linspace(0.5, 3, X.shape[1])
    table = clf.coef_table(scale=scale)
    expected = SoftmaxRegressionClassifier()
    expected.coef_, expected.intercept_ = clf.coef_ * scale, clf.intercept_
    expected.classes_, expected.feature_names_in_ = clf.classes_, clf.feature_names_in_
    pd.testing.assert_frame_equal(table, expected.coef_table())
    doubled = clf.coef_table(scale=2)
    assert_allclose(doubled["odds_ratio"], clf.coef_table()["odds_ratio"] ** 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "none"}, r"reference must be None or one of the classes.*got 'none'"),
        ({"scale": [1.0, 2.0]}, r"an entry for each of the 13 features; its shape is \(2,\)"),
        ({"scale": np.nan}, "scale must be finite"),
    ],
)
def test_bad_options(data, options, message):
    clf = SoftmaxRegressionClassifier().fit(*data)
    with pytest.raises(ValueError, match=message):
        clf.coef_table(**options)


def test_a_table_of_sparse_coefficients(data):
    clf = SoftmaxRegressionClassifier(l1_ratio=1.0, C=0.1).fit(*data)
    dense = clf.coef_table()
    pd.testing.assert_frame_equal(clf.sparsify().coef_table(), dense)
