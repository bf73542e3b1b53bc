"""Labels of any type, and distributions over the classes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_softmax import SoftmaxRegressionClassifier

pytestmark = pytest.mark.usefixtures("both_ways")


def soft_problem(n_classes=3, n_rows=90):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 4))
    counts = (
        rng.integers(0, 5, (n_rows, n_classes))
        + np.eye(n_classes, dtype=int)[rng.integers(0, n_classes, n_rows)]
    )
    return X, counts


def repeated(X, counts):
    """Return the rows that a table of counts stands for, with labels and weights."""
    n_rows, n_classes = counts.shape
    index = np.repeat(np.arange(n_rows), n_classes)
    return X[index], np.tile(np.arange(n_classes), n_rows), counts.ravel().astype(float)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 1: 0.5}])
@pytest.mark.parametrize("sparse", [False, True])
def test_distributions_are_repeated_weighted_rows(n_classes, class_weight, sparse):
    X, counts = soft_problem(n_classes)
    totals = counts.sum(axis=1)
    clf = SoftmaxRegressionClassifier(class_weight=class_weight, tol=1e-8)
    expected = clf.fit(*repeated(X, counts))
    coef, intercept = expected.coef_, expected.intercept_
    X = sp.csr_matrix(X) if sparse else X
    clf.fit(X, counts / totals[:, None], sample_weight=totals)
    assert_allclose(clf.coef_, coef, atol=1e-7)
    assert_allclose(clf.intercept_, intercept, atol=1e-7)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_one_hot_is_labels(iris, solver):
    X, y = iris
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0)
    coef = clf.fit(X, y).coef_
    for one_hot in (np.eye(3)[y], np.eye(3, dtype=int)[y], np.eye(3, dtype=bool)[y].tolist()):
        assert_allclose(clf.fit(X, one_hot).coef_, coef, rtol=1e-9)
        assert_array_equal(clf.classes_, [0, 1, 2])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_columns_of_a_frame_are_the_classes(iris, frame):
    X, y = iris
    proba = np.eye(3)[y]
    names = ["setosa", "versicolor", "virginica"]
    expected = SoftmaxRegressionClassifier().fit(X, np.array(names)[y])
    order = [2, 0, 1]
    shuffled = frame({names[k]: proba[:, k] for k in order})
    clf = SoftmaxRegressionClassifier().fit(X, shuffled)
    assert_array_equal(clf.classes_, names)
    assert_allclose(clf.predict_proba(X), expected.predict_proba(X), rtol=1e-12)
    assert_allclose(clf.score(X, shuffled), expected.score(X, np.array(names)[y]))


def test_label_smoothing_is_smoothed_targets():
    X, counts = soft_problem()
    proba = counts / counts.sum(axis=1, keepdims=True)
    smoothed = SoftmaxRegressionClassifier(label_smoothing=0.3, tol=1e-8).fit(X, proba)
    by_hand = SoftmaxRegressionClassifier(tol=1e-8).fit(X, 0.7 * proba + 0.1)
    assert_allclose(smoothed.coef_, by_hand.coef_, atol=1e-8)
    labels = counts.argmax(axis=1)
    smoothed.fit(X, labels)
    by_hand.fit(X, 0.7 * np.eye(3)[labels] + 0.1)
    assert_allclose(smoothed.coef_, by_hand.coef_, atol=1e-8)


def test_score_of_distributions_is_expected_accuracy(iris):
    X, y = iris
    clf = SoftmaxRegressionClassifier().fit(X, y)
    proba = np.full((len(y), 3), 0.1)
    proba[np.arange(len(y)), clf.predict(X)] = 0.8
    assert_allclose(clf.score(X, proba), 0.8)
    weight = np.arange(len(y))
    assert_allclose(
        clf.score(X, np.eye(3)[y], weight), np.average(clf.predict(X) == y, weights=weight)
    )


@pytest.mark.parametrize(
    "names",
    [
        np.array([-1, 3, 7]),
        np.array(["a", "b", "c"]),
        np.array(["a", "bb", "ccc"], dtype=object),
        np.array([1.0, 2.0, 4.0]),
    ],
)
def test_labels_of_any_type(iris, names):
    X, y = iris
    expected = SoftmaxRegressionClassifier().fit(X, y)
    clf = SoftmaxRegressionClassifier().fit(X, names[y])
    assert_array_equal(clf.classes_, names)
    assert clf.predict(X).dtype == names.dtype
    assert_array_equal(clf.predict(X), names[expected.predict(X)])
    for series in (pd.Series(names[y]), pl.Series(names[y].tolist())):
        assert_array_equal(clf.fit(X, series).predict(X), names[expected.predict(X)])


def test_bool_labels(cancer):
    X, y = cancer
    clf = SoftmaxRegressionClassifier().fit(X, y == 1)
    assert clf.classes_.dtype == bool
    assert_array_equal(clf.predict(X), SoftmaxRegressionClassifier().fit(X, y).predict(X) == 1)


BAD_TARGETS = {
    "negative": (
        [[1.5, -0.5], [0.5, 0.5]],
        r"must not be negative; row 0 has -0.5",
    ),
    "sums": ([[0.5, 0.5], [0.5, 0.6]], r"must sum to 1; row 1 sums to 1.1"),
    "multi-hot": (
        [[1, 0], [1, 1]],
        r"multi-label indicators: row 1 has 2 labels.*OneVsRestClassifier",
    ),
    "no label": ([[1, 0], [0, 0]], r"multi-label indicators: row 1 has 0 labels"),
    "nan": ([[np.nan, 1.0], [0.5, 0.5]], r"Input y contains NaN"),
    "length": ([[1.0, 0.0]], r"X has 2 rows, but y has 1"),
    "inf": ([[np.inf, 1.0], [0.5, 0.5]], r"Input y contains infinity"),
}


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_bad_distributions(name):
    y, message = BAD_TARGETS[name]
    with pytest.raises(ValueError, match=message):
        SoftmaxRegressionClassifier().fit(np.eye(2), np.asarray(y))
