"""Soft labels in scikit-learn's model selection: scorers and folds that take distributions."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV
from sklearn_softmax.functional import cross_entropy
from sklearn_softmax.metrics import expected_accuracy_scorer, neg_cross_entropy_scorer
from sklearn_softmax.model_selection import SoftStratifiedKFold

SCORERS = {"neg_log_loss": neg_cross_entropy_scorer, "accuracy": expected_accuracy_scorer}


@pytest.fixture(params=["two classes", "three classes"])
def soft(request, iris, rng):
    """Rows sorted by class, their distributions, and the most probable class of each."""
    X, y = iris
    if request.param == "two classes":
        X, y = X[50:], y[50:] - 1
    n_classes = y.max() + 1
    noise = rng.dirichlet(np.ones(n_classes), len(y))
    return X, 0.6 * np.eye(n_classes)[y] + 0.4 * noise, y


@pytest.mark.parametrize("name", SCORERS)
def test_labels_score_as_in_scikit_learn(iris, cancer, name):
    for X, y in (iris, cancer, (cancer[0], np.array(["no", "yes"])[cancer[1]])):
        clf = SoftmaxRegressionClassifier().fit(X, y)
        weight = np.linspace(0, 2, len(y))
        theirs = get_scorer(name)
        assert_allclose(SCORERS[name](clf, X, y), theirs(clf, X, y), rtol=1e-9)
        assert_allclose(
            SCORERS[name](clf, X, y, sample_weight=weight),
            theirs(clf, X, y, sample_weight=weight),
            rtol=1e-9,
        )


def test_distributions_score_as_the_formulas_say(soft):
    X, proba, _ = soft
    clf = SoftmaxRegressionClassifier().fit(X, proba)
    logits = clf.predict_log_proba(X)
    weight = np.linspace(0, 2, len(X))
    assert_allclose(neg_cross_entropy_scorer(clf, X, proba), -cross_entropy(logits, proba))
    assert_allclose(
        neg_cross_entropy_scorer(clf, X, proba, sample_weight=weight),
        -cross_entropy(logits, proba, sample_weight=weight),
    )
    assert expected_accuracy_scorer(clf, X, proba) == clf.score(X, proba)
    expected = proba[np.arange(len(X)), clf.predict(X)].mean()
    assert_allclose(clf.score(X, proba), expected)


def test_one_hot_rows_score_as_labels(iris):
    X, y = iris
    clf = SoftmaxRegressionClassifier().fit(X, y)
    for scorer in SCORERS.values():
        assert_allclose(scorer(clf, X, np.eye(3)[y]), scorer(clf, X, y))


def test_columns_of_a_data_frame_are_matched_by_name(soft):
    X, proba, _ = soft
    names = ["b", "a", "c"][: proba.shape[1]]
    frame = pd.DataFrame(proba, columns=names)
    clf = SoftmaxRegressionClassifier().fit(X, frame)
    ordered = frame[clf.classes_]
    for scorer in SCORERS.values():
        assert scorer(clf, X, frame) == scorer(clf, X, ordered)
        assert_allclose(scorer(clf, X, frame), scorer(clf, X, ordered.to_numpy()))


@pytest.mark.parametrize("as_frame", [False, True])
def test_cross_validation_and_searches(soft, as_frame):
    X, proba, _ = soft
    y = pd.DataFrame(proba, columns=["x", "y", "z"][: proba.shape[1]]) if as_frame else proba
    folds = SoftStratifiedKFold(3, shuffle=True, random_state=0)
    pipeline = make_pipeline(StandardScaler(), SoftmaxRegressionClassifier())
    found = cross_validate(pipeline, X, y, cv=folds, scoring=SCORERS)
    for name, scorer in SCORERS.items():
        scores = cross_val_score(pipeline, X, y, cv=folds, scoring=scorer, n_jobs=2)
        assert_allclose(scores, found[f"test_{name}"])
        assert np.isfinite(scores).all()
    by_hand = [
        -cross_entropy(pipeline.fit(X[train], proba[train]).predict_log_proba(X[test]), proba[test])
        for train, test in folds.split(X, y)
    ]
    assert_allclose(found["test_neg_log_loss"], by_hand, atol=1e-6)
    Cs = [1e-4, 1.0]
    for kind in (GridSearchCV, RandomizedSearchCV):
        options = {"n_iter": 2} if kind is RandomizedSearchCV else {}
        search = kind(
            SoftmaxRegressionClassifier(),
            {"C": Cs},
            cv=folds,
            scoring=neg_cross_entropy_scorer,
            **options,
        ).fit(X, y)
        assert search.best_params_ == {"C": 1.0}
        assert search.score(X, y) == neg_cross_entropy_scorer(search.best_estimator_, X, y)


def test_the_same_folds_and_scores_as_the_estimator_with_cross_validation(soft):
    X, proba, _ = soft
    clf = SoftmaxRegressionClassifierCV(
        Cs=[0.01, 1.0], cv=3, scoring=neg_cross_entropy_scorer, tol=1e-6
    ).fit(X, proba)
    search = GridSearchCV(
        SoftmaxRegressionClassifier(tol=1e-6),
        {"C": [0.01, 1.0]},
        cv=SoftStratifiedKFold(3),
        scoring=neg_cross_entropy_scorer,
    ).fit(X, proba)
    assert_allclose(clf.scores_.mean(axis=0)[0], search.cv_results_["mean_test_score"], rtol=1e-5)


def test_metadata_routing(soft):
    X, proba, _ = soft
    weight = np.linspace(0.1, 2, len(X))
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxRegressionClassifier().set_fit_request(sample_weight=True)
        scorer = pickle.loads(pickle.dumps(neg_cross_entropy_scorer))
        scorer.set_score_request(sample_weight=True)
        (score,) = cross_val_score(
            clf,
            X,
            proba,
            scoring=scorer,
            params={"sample_weight": weight},
            cv=[(np.arange(len(X)), np.arange(len(X)))],
        )
    fitted = SoftmaxRegressionClassifier().fit(X, proba, weight)
    assert_allclose(score, neg_cross_entropy_scorer(fitted, X, proba, sample_weight=weight))
    assert score != neg_cross_entropy_scorer(fitted, X, proba)


def test_other_classifiers(iris):
    X, y = iris
    soft = 0.9 * np.eye(3)[y] + 0.1 / 3
    mlp = MLPClassifier(max_iter=2000, random_state=0).fit(X, y)
    expected = (soft * mlp.predict_log_proba(X)).sum(axis=1).mean()
    assert_allclose(neg_cross_entropy_scorer(mlp, X, soft), expected)
    with pytest.raises(AttributeError, match="predict_proba"):
        neg_cross_entropy_scorer(LinearSVC().fit(X, y), X, soft)
    # A tree is certain of what it has seen: it scores 0 there, and minus infinity elsewhere.
    with np.errstate(divide="ignore"):
        tree = DecisionTreeClassifier().fit(X, y)
        assert neg_cross_entropy_scorer(tree, X, y) == 0
        assert neg_cross_entropy_scorer(tree, X, np.eye(3)[y]) == 0
        assert neg_cross_entropy_scorer(tree, X, soft) == -np.inf


BAD_TARGETS = {
    "unknown label": ([0, 1, 7], r"label .*7.*not fitted with"),
    "other kind": (["a", "b", "a"], "another kind"),
    "length": ([0, 1], "inconsistent numbers of samples"),
    "length of distributions": (np.full((2, 3), 1 / 3), "inconsistent numbers of samples"),
    "columns": (np.full((3, 4), 0.25), "y has 4 columns"),
    "sums": (np.full((3, 3), 0.5), "sum to 1"),
}


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_bad_targets(iris, name):
    X, y = iris
    target, message = BAD_TARGETS[name]
    clf = SoftmaxRegressionClassifier().fit(X, y)
    with pytest.raises(ValueError, match=message):
        neg_cross_entropy_scorer(clf, X[:3], target)


def test_folds_are_those_of_the_most_probable_class(soft):
    X, proba, y = soft
    assert_array_equal(proba.argmax(axis=1), y)
    for options in ({}, {"shuffle": True, "random_state": 3}):
        ours, theirs = SoftStratifiedKFold(5, **options), StratifiedKFold(5, **options)
        expected = list(theirs.split(X, y))
        for given in (proba, pd.DataFrame(proba, columns=list("cba")[: proba.shape[1]]), y):
            for (train, test), (wanted_train, wanted_test) in zip(
                ours.split(X, given), expected, strict=True
            ):
                assert_array_equal(train, wanted_train)
                assert_array_equal(test, wanted_test)
    assert SoftStratifiedKFold(5).get_n_splits() == 5


def test_folds_refuse_what_is_no_distribution():
    with pytest.raises(ValueError, match="multi-label"):
        SoftStratifiedKFold(2).split(np.zeros((4, 1)), np.ones((4, 3)))


def test_names_of_scorers():
    assert repr(neg_cross_entropy_scorer) == "neg_cross_entropy_scorer"
    assert repr(expected_accuracy_scorer) == "expected_accuracy_scorer"
