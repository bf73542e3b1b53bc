"""Displays: what they show is what the estimator holds."""

import builtins

import matplotlib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV
from sklearn_softmax.inspection import CoefficientDisplay, LossCurveDisplay

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_loss_curve(wine):
    clf = SoftmaxRegressionClassifier().fit(*wine)
    display = LossCurveDisplay.from_estimator(clf, color="black")
    (line,) = display.lines_
    assert_array_equal(line.get_ydata(), clf.loss_curve_)
    assert_array_equal(line.get_xdata(), np.arange(1, clf.n_iter_[0] + 1))
    assert line.get_color() == "black"
    assert display.ax_.get_xlabel() == "iteration"
    assert display.ax_.get_legend() is None


def test_validation_curve_of_epochs(wine):
    clf = SoftmaxRegressionClassifier(solver="sgd", early_stopping=True, random_state=0)
    pipeline = make_pipeline(StandardScaler(), clf).fit(*wine)
    _, ax = plt.subplots()
    display = LossCurveDisplay.from_estimator(pipeline, ax=ax, name="wine")
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    training, validation = display.lines_
    assert_array_equal(training.get_ydata(), pipeline[-1].loss_curve_)
    assert_array_equal(validation.get_ydata(), -np.array(pipeline[-1].validation_score_curve_))
    assert ax.get_xlabel() == "epoch"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["wine: training (with penalty)", "wine: validation"]


def test_what_has_no_loss_curve(wine):
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(SoftmaxRegressionClassifier())
    with pytest.raises(ValueError, match="loss_curve_; LogisticRegression has none"):
        LossCurveDisplay.from_estimator(LogisticRegression().fit(np.eye(2), [0, 1]))


def texts_of(display):
    return {
        (text.get_position()[1], text.get_position()[0]): text.get_text()
        for text in display.ax_.texts
    }


def test_coefficients_of_three_classes():
    X, y = load_wine(return_X_y=True, as_frame=True)
    y = np.array(["a", "b", "c"])[y]
    clf = SoftmaxRegressionClassifier().fit(X, y)
    display = CoefficientDisplay.from_estimator(clf, max_features=None)
    assert_array_equal(display.im_.get_array(), clf.coef_.T)
    assert display.feature_names == list(X.columns)
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == list(X.columns)
    low, high = display.im_.get_clim()
    assert low == -high == -np.abs(clf.coef_).max()
    for (row, column), text in texts_of(display).items():
        assert text == f"{clf.coef_[column, row]:.2f}"


def test_the_largest_coefficients_times_scale():
    X, y = load_wine(return_X_y=True, as_frame=True)
    clf = SoftmaxRegressionClassifier().fit(X, y)
    display = CoefficientDisplay.from_estimator(clf, scale=X.std(), max_features=4)
    effect = np.abs(clf.coef_ * X.std().to_numpy()).max(axis=0)
    assert set(display.feature_names) == set(X.columns[np.argsort(-effect)[:4]])
    for name, column in zip(display.feature_names, display.coef.T, strict=True):
        assert_allclose(column, clf.coef_[:, list(X.columns).index(name)] * X[name].std())
    with pytest.raises(ValueError, match=r"each of the 13 features; its shape is \(2,\)"):
        CoefficientDisplay.from_estimator(clf, scale=[1.0, 2.0])


def test_two_classes_have_one_column(cancer):
    X, y = cancer
    clf = SoftmaxRegressionClassifierCV(Cs=[1.0], cv=3).fit(X, np.array(["no", "yes"])[y])
    display = CoefficientDisplay.from_estimator(clf, values_format=None, colorbar=False)
    assert display.class_names == ["yes"]
    assert len(display.feature_names) == 20
    assert not display.ax_.texts
    assert len(display.figure_.axes) == 1


def test_names_of_a_pipeline():
    texts, y = ["red wine", "white wine", "dark beer", "pale beer"], [1, 1, 0, 0]
    words = make_pipeline(CountVectorizer(), SoftmaxRegressionClassifier()).fit(texts, y)
    display = CoefficientDisplay.from_estimator(words, max_features=2)
    assert set(display.feature_names) == {"wine", "beer"}
    X = pd.DataFrame({"u": [0.0, 1.0, 2.0, 3.0], "v": [1.0, 0.0, 1.0, 0.0]})
    unnamed = make_pipeline(
        FunctionTransformer(lambda X: X.to_numpy()), SoftmaxRegressionClassifier()
    )
    display = CoefficientDisplay.from_estimator(unnamed.fit(X, y))
    assert display.feature_names == ["x0", "x1"]


def test_zeros_and_sparse_coefficients(wine):
    clf = SoftmaxRegressionClassifier(l1_ratio=1.0, C=1e-9).fit(*wine).sparsify()
    display = CoefficientDisplay.from_estimator(clf)
    assert not display.im_.get_array().any()
    assert display.im_.get_clim() == (-1.0, 1.0)


def test_matplotlib_is_named_where_it_is_missing(wine, monkeypatch):
    clf = SoftmaxRegressionClassifier().fit(*wine)
    real_import = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    for display in (CoefficientDisplay, LossCurveDisplay):
        with pytest.raises(ImportError, match="pip install matplotlib"):
            display.from_estimator(clf)
