"""SoftmaxRegressionClassifierCV: each fold and penalty as a fit by itself, and what is chosen."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV

from .test_ecosystem import Recorder
from .test_path import PROMISED, hard_rows, mean_objective

CS = [0.01, 1.0, 100.0]


def converged_cv(**options):
    """Return an estimator whose fits go on until they are at their optima."""
    return SoftmaxRegressionClassifierCV(**{"Cs": CS, "cv": 3, "tol": 1e-7, **options})


def targets(y, n_classes):
    return np.eye(n_classes)[y] if y.ndim == 1 else y


def assert_same_as_alone(clf, X, y, weight=None, *, slack=0.0, class_weight=None):
    """Every fold's model has the objective, and the score, of a fit to its training rows."""
    labels = y if y.ndim == 1 else y.argmax(axis=1)
    splits = list(StratifiedKFold(clf.cv).split(np.zeros(len(labels)), labels))
    rows = np.ones(len(labels)) if weight is None else weight
    for fold, (train, test) in enumerate(splits):
        for i, l1_ratio in enumerate(clf.l1_ratios_):
            for j, C in enumerate(clf.Cs_):
                alone = SoftmaxRegressionClassifier(
                    C=C,
                    l1_ratio=l1_ratio,
                    fit_intercept=clf.fit_intercept,
                    label_smoothing=clf.label_smoothing,
                    class_weight=class_weight,
                    tol=1e-7,
                    max_iter=5000,
                ).fit(X[train], y[train], None if weight is None else weight[train])
                coefs = clf.coefs_paths_[fold, i, j]
                coef, intercept = coefs, np.zeros(len(coefs))
                if clf.fit_intercept:
                    coef, intercept = coefs[:, :-1], coefs[:, -1]
                target = targets(y, len(clf.classes_))
                smooth = clf.label_smoothing
                smoothed = (1 - smooth) * target[train] + smooth / target.shape[1]
                if class_weight is None:
                    weighted = rows[train]
                    arguments = X[train], smoothed, weighted, C, l1_ratio
                    found = mean_objective(coef, intercept, *arguments)
                    best = mean_objective(alone.coef_, alone.intercept_, *arguments)
                    assert found <= best * (1 + PROMISED[l1_ratio] + slack)
                else:
                    assert_allclose(coef, alone.coef_, rtol=1e-4, atol=1e-5)
                likelihood = -mean_objective(
                    coef, intercept, X[test], target[test], rows[test], np.inf, 0.0
                )
                assert_allclose(clf.scores_[fold, i, j], likelihood, rtol=1e-5 + slack)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fit_intercept": False},
        {"label_smoothing": 0.1},
        {"l1_ratios": (1.0,)},
        {"l1_ratios": (0.0, 0.5, 1.0)},
        {"Cs": [100.0, 0.01, 1.0]},
    ],
    ids=str,
)
def test_each_fold_as_by_itself(wine, options):
    X, y = wine
    clf = SoftmaxRegressionClassifierCV(**{"Cs": CS, "cv": 3, **options}).fit(X, y)
    assert_same_as_alone(clf, X, y)


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@pytest.mark.parametrize(
    "kind", ["wide", "csr", "float32", "far", "collinear", "two", "large", "rare"]
)
def test_hard_rows(kind, l1_ratio):
    X, y = hard_rows(kind, n_rows=120, step=5)
    clf = SoftmaxRegressionClassifierCV(Cs=CS, cv=3, l1_ratios=[l1_ratio]).fit(X, y)
    assert_same_as_alone(clf, X, y, slack=1e-4 if kind == "float32" else 0.0)


@pytest.mark.parametrize("kind", ["dense", "csr", "no intercept", "file"])
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@pytest.mark.parametrize("outlier", [1e8, 1e100])
def test_an_outlier_does_not_blind_the_folds_that_hold_it_out(
    outlier, l1_ratio, kind, iris, tmp_path
):
    """In the scale of all rows, what is left of its feature would be lost to rounding."""
    X, y = iris[0] - iris[0].mean(axis=0), iris[1]
    X[0, 2] = outlier
    train, test = np.arange(1, 150), np.arange(3)
    rows = sp.csr_array(X) if kind == "csr" else X
    if kind == "file":
        h5py = pytest.importorskip("h5py")
        rows = h5py.File(tmp_path / "X.h5", "w").create_dataset("X", data=X)
    options = {"l1_ratio": l1_ratio, "fit_intercept": kind != "no intercept", "tol": 1e-6}
    alone = SoftmaxRegressionClassifier(**options).fit(X[train], y[train])
    ratios = [options.pop("l1_ratio")]
    cv = [(np.arange(0, 150, 2), test), (train, test), (train, test)]
    clf = SoftmaxRegressionClassifierCV(Cs=[1.0], l1_ratios=ratios, cv=cv, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # (of the fits that have it)
        clf.fit(rows, y)
    target, weight = np.eye(3)[y[train]], np.ones(149)
    arguments = X[train], target, weight, 1.0, l1_ratio
    best = mean_objective(alone.coef_, alone.intercept_, *arguments)
    for coefs in clf.coefs_paths_[1:, 0, 0]:
        coef, intercept = coefs[:, :4], coefs[:, 4:].sum(axis=1)
        assert mean_objective(coef, intercept, *arguments) <= best * (1 + 2e-6)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_no_fold_learns_from_the_rows_that_it_is_to_predict(is_sparse, rng):
    """A feature of the held-out rows alone has no coefficient, however weak the penalty."""
    X, is_test = rng.normal(size=(20_000, 12)), np.arange(20_000) % 2 == 1
    X[:, 6:] = is_test[:, None] & (rng.random((20_000, 6)) < 0.1)
    y = (X[:, 0] + rng.logistic(size=20_000) > 0).astype(int)
    y[X[:, 6:].any(axis=1)] = 1
    cv = [(is_test, ~is_test), (~is_test, is_test)]
    rows = sp.csr_array(X) if is_sparse else X
    clf = SoftmaxRegressionClassifierCV(Cs=[1e2, 1e4, 1e6, 1e8], cv=cv).fit(rows, y)
    assert_allclose(clf.coefs_paths_[1, 0, :, 0, 6:12], 0.0, atol=1e-3)
    alone = SoftmaxRegressionClassifier(tol=1e-7).fit(X[~is_test], y[~is_test])
    assert_allclose(
        clf.scores_[1, 0], -log_loss(y[is_test], alone.predict_proba(X[is_test])), rtol=1e-2
    )


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0}])
def test_weights(wine, rng, class_weight):
    X, y = wine
    X = StandardScaler().fit_transform(X)
    weight = rng.exponential(size=len(y))
    weight[::7] = 0.0
    clf = converged_cv(class_weight=class_weight).fit(X, y, weight)
    assert_same_as_alone(clf, X, y, weight, class_weight=class_weight)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_soft_labels(wine, rng, class_weight):
    X, y = wine
    X = StandardScaler().fit_transform(X)
    proba = 0.7 * np.eye(3)[y] + 0.3 * rng.dirichlet(np.ones(3), size=len(y))
    clf = converged_cv(class_weight=class_weight).fit(X, proba)
    assert_same_as_alone(clf, X, proba, class_weight=class_weight)
    named = pd.DataFrame(proba, columns=["b", "c", "a"])
    assert_array_equal(converged_cv(Cs=[1.0]).fit(X, named).classes_, ["a", "b", "c"])


def test_rows_of_weight_zero_are_left_out(wine):
    X, y = wine
    weight = (np.arange(len(y)) % 3 > 0).astype(float)
    filled = X.copy()
    filled[weight == 0] = 1e20
    cv = [(np.arange(0, 178, 2), np.arange(1, 178, 2)), (np.arange(1, 178, 2), np.arange(90))]
    clf, expected = (
        converged_cv(cv=cv).fit(values, y, sample_weight=weight) for values in (filled, X)
    )
    assert_allclose(clf.scores_, expected.scores_, rtol=1e-5)
    assert clf.C_ == expected.C_


# What is chosen ----------------------------------------------------------------------------


@pytest.mark.parametrize("load", ["iris", "wine", "cancer"])
def test_same_as_logistic_regression_cv(load, request):
    X, y = request.getfixturevalue(load)
    X = StandardScaler().fit_transform(X)
    options = {"Cs": 5, "cv": 4, "scoring": "neg_log_loss"}
    ours = converged_cv(**options).fit(X, y)
    theirs = LogisticRegressionCV(
        **options,
        l1_ratios=(0.0,),
        use_legacy_attributes=False,
        solver="newton-cholesky",
        tol=1e-10,
        max_iter=1000,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(X, y)
    assert_array_equal(ours.Cs_, theirs.Cs_)
    assert ours.scores_.shape == theirs.scores_.shape
    assert ours.coefs_paths_.shape == theirs.coefs_paths_.shape
    assert ours.n_iter_.shape == theirs.n_iter_.shape
    # (At C = 1e4 separable classes have nearly no curvature: their last digits are theirs.)
    assert_allclose(ours.scores_[..., :-1], theirs.scores_[..., :-1], rtol=1e-3)
    assert ours.C_ == theirs.C_
    assert ours.l1_ratio_ == theirs.l1_ratio_
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-4)
    assert_allclose(ours.score(X, y), theirs.score(X, y), rtol=1e-4)


def test_scores_are_those_of_cross_val_score(wine):
    X, y = wine
    clf = converged_cv().fit(X, y)
    for j, C in enumerate(CS):
        alone = SoftmaxRegressionClassifier(C=C, tol=1e-7)
        scores = cross_val_score(alone, X, y, cv=3, scoring="neg_log_loss")
        assert_allclose(clf.scores_[:, 0, j], scores, rtol=1e-4)


def test_scores_of_float32_far_from_zero(iris):
    """The default score needs as many digits as a prediction does."""
    X, y = iris[0].copy(), iris[1]
    X[:, 0] += 1e6
    X = X.astype(np.float32)
    clf = converged_cv(Cs=[1e-9, 1.0], l1_ratios=[0.5]).fit(X, y)
    assert clf.coefs_paths_.dtype == np.float64
    for fold, (_, test) in enumerate(StratifiedKFold(3).split(X, y)):
        coefs = clf.coefs_paths_[fold, 0, 1]
        arguments = X[test], np.eye(3)[y[test]], np.ones(len(test)), np.inf, 0.0
        likelihood = -mean_objective(coefs[:, :-1], coefs[:, -1], *arguments)
        assert_allclose(clf.scores_[fold, 0, 1], likelihood, rtol=1e-6)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_other_array_libraries(library, dtype, iris):
    xp = pytest.importorskip(library)
    X, y = iris[0].astype(dtype), iris[1]
    clf = converged_cv(Cs=[0.1, 1.0]).fit(xp.asarray(X), y)
    expected = converged_cv(Cs=[0.1, 1.0]).fit(X, y)
    assert_allclose(clf.scores_, expected.scores_, rtol=1e-4)
    assert_allclose(clf.coef_, expected.coef_, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("is_soft", [False, True])
def test_score_is_the_mean_log_likelihood(iris, rng, is_soft):
    X, y = iris
    target = 0.8 * np.eye(3)[y] + 0.2 / 3 if is_soft else np.eye(3)[y]
    clf = SoftmaxRegressionClassifierCV(Cs=[1.0], cv=3).fit(X, target if is_soft else y)
    weight = rng.exponential(size=40)  # (of one class)
    given = clf.score(X[:40], target[:40] if is_soft else y[:40], sample_weight=weight)
    arguments = X[:40], target[:40], weight, np.inf, 0.0
    assert_allclose(given, -mean_objective(clf.coef_, clf.intercept_, *arguments))
    if not is_soft:
        with pytest.raises(ValueError, match=r"labels of the model's classes, .*; got 7"):
            clf.score(X[:2], [0, 7])


def test_attributes(wine):
    X, y = wine
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(13)])
    clf = SoftmaxRegressionClassifierCV(Cs=4, l1_ratios=[0.0, 0.5], cv=3).fit(frame, y)
    assert_allclose(clf.Cs_, np.logspace(-4, 4, 4))
    assert_array_equal(clf.l1_ratios_, [0.0, 0.5])
    assert clf.scores_.shape == clf.n_iter_.shape == (3, 2, 4)
    assert clf.coefs_paths_.shape == (3, 2, 4, 3, 14)
    i, j = np.unravel_index(clf.scores_.mean(axis=0).argmax(), (2, 4))
    assert (clf.C_, clf.l1_ratio_) == (clf.Cs_[j], clf.l1_ratios_[i])
    assert isinstance(clf.C_, float)
    assert clf.feature_names_in_.tolist() == frame.columns.tolist()
    alone = SoftmaxRegressionClassifier(C=clf.C_, l1_ratio=clf.l1_ratio_, tol=1e-8).fit(frame, y)
    assert_allclose(clf.predict_proba(frame), alone.predict_proba(frame), atol=1e-3)
    assert 0 <= clf.duality_gap_ < 1e-3
    assert not hasattr(clf, "partial_fit")
    again = pickle.loads(pickle.dumps(clf))
    assert_array_equal(again.predict(frame), clf.predict(frame))
    clone(clf).fit(frame, y)


def test_one_standard_error():
    X, y = make_classification(
        150, 30, n_informative=4, n_classes=3, flip_y=0.3, random_state=0, n_clusters_per_class=1
    )
    options = {"Cs": np.logspace(-2, 1, 25), "cv": 5, "l1_ratios": [1.0]}
    best = SoftmaxRegressionClassifierCV(**options).fit(X, y)
    clf = SoftmaxRegressionClassifierCV(**options, selection="one_standard_error").fit(X, y)
    scores = clf.scores_[:, 0]
    means, j = scores.mean(axis=0), int(np.argmax(scores.mean(axis=0)))
    least = means[j] - scores[:, j].std(ddof=1) / np.sqrt(5)
    assert clf.Cs_[means >= least].min() == clf.C_
    assert clf.C_ < best.C_
    assert np.count_nonzero(clf.coef_) < np.count_nonzero(best.coef_)


def test_ties_go_to_the_strongest_penalty(iris):
    X, y = iris
    constant = SoftmaxRegressionClassifierCV(
        Cs=[10.0, 0.1, 1.0], cv=3, scoring=lambda clf, X, y: 1.0
    ).fit(X, y)
    assert constant.C_ == 0.1


def test_ties_go_to_the_strongest_penalty_of_any_l1_ratio(iris):
    def score(clf, X, y):
        return float((clf.C, clf.l1_ratio) != (0.1, 0.0))

    clf = SoftmaxRegressionClassifierCV(Cs=[0.1, 1.0], l1_ratios=[0.0, 0.5], cv=3, scoring=score)
    clf.fit(*iris)
    assert (clf.C_, clf.l1_ratio_) == (0.1, 0.5)


def test_without_a_refit(wine):
    X, y = wine
    clf = SoftmaxRegressionClassifierCV(Cs=CS, cv=3, refit=False).fit(X, y)
    mean = clf.coefs_paths_[:, 0, CS.index(clf.C_)].mean(axis=0)
    assert_allclose(clf.coef_, mean[:, :-1])
    assert_allclose(clf.intercept_, mean[:, -1])
    assert not hasattr(clf, "duality_gap_")


def test_a_path_ends_once_validation_has_turned(cancer):
    X, y = cancer
    X = StandardScaler().fit_transform(X)
    whole = SoftmaxRegressionClassifierCV(cv=3).fit(X, y)
    clf = SoftmaxRegressionClassifierCV(cv=3, n_Cs_no_change=1).fit(X, y)
    is_left = np.isnan(clf.scores_[0, 0])
    assert is_left.any()
    assert np.isnan(clf.coefs_paths_[:, :, is_left]).all()
    assert_allclose(clf.scores_[:, :, ~is_left], whole.scores_[:, :, ~is_left])
    assert clf.C_ == whole.C_


# Splitters and scorers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "cv",
    [
        KFold(3, shuffle=True, random_state=0),
        ShuffleSplit(2, random_state=0),
        RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
        [(np.arange(178) % 2 == 0, np.arange(178) % 2 == 1)],
        [(list(range(0, 178, 2)), list(range(-177, 0, 2)))],
    ],
    ids=["kfold", "shuffle", "repeated", "masks", "negative"],
)
def test_splitters(wine, cv):
    X, y = wine
    clf = converged_cv(cv=cv).fit(X, y)
    assert np.isfinite(clf.scores_).all()


def test_a_row_that_occurs_twice_counts_twice(wine, rng):
    X, y = wine
    drawn = rng.integers(178, size=178)
    rest = np.setdiff1d(np.arange(178), drawn)
    clf = converged_cv(cv=[(drawn, rest)]).fit(X, y)
    alone = SoftmaxRegressionClassifier(tol=1e-7).fit(X[drawn], y[drawn])
    assert_allclose(clf.coefs_paths_[0, 0, 1, :, :-1], alone.coef_, rtol=1e-3, atol=1e-4)


def test_groups(wine):
    X, y = wine
    groups = np.arange(len(y)) % 6
    clf = converged_cv(cv=GroupKFold(3)).fit(X, y, groups=groups)
    splits = list(GroupKFold(3).split(X, y, groups))
    expected = converged_cv(cv=splits).fit(X, y)
    assert_array_equal(clf.scores_, expected.scores_)
    with pytest.raises(ValueError, match="group"):
        converged_cv(cv=GroupKFold(3)).fit(X, y)


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss", "balanced_accuracy"])
def test_scorers_with_weights(wine, rng, scoring):
    X, y = wine
    weight = rng.exponential(size=len(y))
    clf = converged_cv(scoring=scoring, Cs=[1.0]).fit(X, y, sample_weight=weight)
    alone = SoftmaxRegressionClassifier(tol=1e-7)
    with config_context(enable_metadata_routing=True):
        alone.set_fit_request(sample_weight=True)
        from sklearn.metrics import get_scorer

        scorer = get_scorer(scoring).set_score_request(sample_weight=True)
        expected = cross_val_score(
            alone, X, y, cv=3, scoring=scorer, params={"sample_weight": weight}
        )
    assert_allclose(clf.scores_[:, 0, 0], expected, rtol=1e-4)
    given = clf.score(X, y, sample_weight=weight)
    assert_allclose(given, get_scorer(scoring)(clf, X, y, sample_weight=weight))


def test_scorers_see_what_was_given(wine):
    X, y = wine
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(13)])
    seen = []

    def score(clf, X, y):
        seen.append((type(X), len(X), y.tolist()[:1]))
        return clf.score(X, y)

    names = np.array(["a", "b", "c"])[y]
    SoftmaxRegressionClassifierCV(Cs=[1.0], cv=2, scoring=score).fit(frame, pd.Series(names))
    assert seen == [(pd.DataFrame, 89, ["a"])] * 2


def test_a_scorer_for_soft_labels(wine):
    X, y = wine
    proba = 0.8 * np.eye(3)[y] + 0.2 / 3
    clf = SoftmaxRegressionClassifierCV(Cs=CS, cv=3, scoring=lambda clf, X, y: clf.score(X, y)).fit(
        X, proba
    )
    assert (clf.scores_ > 0.6).all()


def test_metadata_routing(wine, rng):
    X, y = wine
    weight, groups = rng.exponential(size=len(y)), np.arange(len(y)) % 6
    with config_context(enable_metadata_routing=True):
        scorer = make_scorer(
            log_loss, greater_is_better=False, response_method="predict_proba"
        ).set_score_request(sample_weight=True)
        clf = converged_cv(cv=GroupKFold(3), scoring=scorer).set_fit_request(sample_weight=True)
        clf.fit(X, y, sample_weight=weight, groups=groups)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, clone(clf))
        pipeline.fit(X, y, sample_weight=weight, groups=groups)
    expected = converged_cv(cv=GroupKFold(3)).fit(X, y, sample_weight=weight, groups=groups)
    assert_allclose(clf.scores_, expected.scores_, rtol=1e-4)


def test_routed_weights_need_no_scorer(wine, rng):
    X, y = wine
    weight = rng.exponential(size=len(y))
    expected = converged_cv().fit(X, y, sample_weight=weight)
    with config_context(enable_metadata_routing=True):
        clf = converged_cv().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(clf.set_score_request(sample_weight=True))
        pipeline.fit(X, y, sample_weight=weight)
        given = pipeline.score(X, y, sample_weight=weight)
    assert_array_equal(pipeline[-1].scores_, expected.scores_)
    assert_allclose(given, expected.score(X, y, sample_weight=weight))


@pytest.mark.parametrize("kind", ["h5py", "zarr"])
def test_a_scorer_of_rows_in_a_file(wine, rng, kind, tmp_path):
    library = pytest.importorskip(kind)
    X, y = wine
    if kind == "zarr":
        stored = library.array(X)
    else:
        stored = library.File(tmp_path / "X.h5", "w").create_dataset("X", data=X)
    cv = [(rng.integers(178, size=178), rng.integers(178, size=178))]
    options = {"Cs": [1.0], "cv": cv, "scoring": "accuracy"}
    clf, expected = (converged_cv(**options).fit(rows, y) for rows in (stored, X))
    assert_array_equal(clf.scores_, expected.scores_)


# Bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"Cs": [0.0]}, r"Cs must be numbers in \(0, inf\]"),
        ({"Cs": "many"}, "'Cs' parameter"),
        ({"l1_ratios": []}, "l1_ratios must be one number at least"),
        ({"l1_ratios": [1.5]}, r"l1_ratios must be numbers in \[0, 1\]; got 1.5"),
        ({"solver": "sgd"}, "'solver' parameter"),
        ({"selection": "worst"}, "'selection' parameter"),
        ({"cv": 1}, "'cv' parameter"),
        ({"cv": [([0, 150], [1])]}, "cv must give positions of rows, or masks; fold 0: index 150"),
        ({"cv": [([0, 60, 120], [])]}, "fold 0 has no such test rows"),
        ({"cv": [([], [0])]}, "fold 0 has no such training rows"),
        ({"cv": []}, "cv must give at least one fold"),
        ({"cv": [(np.arange(100), np.arange(100, 150))]}, "fold 0 has none of class 2"),
        ({"scoring": lambda *_: np.nan}, "scoring must give a finite score"),
        ({"scoring": lambda *_: [1.0, 2.0]}, "scoring must return a single number"),
        ({"scoring": lambda *_: {"a": 1.0}}, "scoring must return a single number"),
        ({"scoring": lambda *_: None}, "scoring must return a single number; it returned None"),
    ],
)
def test_bad_input(iris, options, said):
    X, y = iris
    clf = SoftmaxRegressionClassifierCV(Cs=[1.0], cv=3).fit(X, y)
    before = pickle.dumps({**vars(clf), **options, "scoring": None})
    clf.set_params(**options)
    with pytest.raises(ValueError, match=said):
        clf.fit(X, y)
    assert pickle.dumps({**vars(clf), "scoring": None}) == before


def test_a_class_that_a_fold_lacks_is_no_matter_with_smoothing(iris):
    X, y = iris
    cv = [(np.arange(100), np.arange(100, 150))]
    clf = SoftmaxRegressionClassifierCV(Cs=CS, cv=cv, label_smoothing=0.1).fit(X, y)
    assert np.isfinite(clf.scores_).all()


@pytest.mark.parametrize("by", ["class_weight", "sample_weight"])
def test_a_class_without_a_weight_is_no_matter_of_the_folds(iris, by):
    X, y = iris
    is_out = y == 1
    weight = np.where(is_out, 0.0, 1.0) if by == "sample_weight" else None
    class_weight = {1: 0.0} if by == "class_weight" else None
    clf = converged_cv(class_weight=class_weight, scoring="accuracy", Cs=[1.0]).fit(X, y, weight)
    alone = SoftmaxRegressionClassifier(class_weight=class_weight).fit(X, y, weight)
    assert_array_equal(clf.predict(X), alone.predict(X))
    assert (clf.predict(X[~is_out]) == y[~is_out]).all()


def test_dask_is_refused(iris):
    da = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match="X must not be a Dask collection"):
        SoftmaxRegressionClassifierCV().fit(da.from_array(iris[0]), iris[1])


def test_x_that_is_not_finite(iris):
    X, y = iris[0].copy(), iris[1]
    for value in (np.nan, np.inf):
        X[3, 1] = value
        for l1_ratio in (0.0, 1.0):
            with pytest.raises(ValueError, match=r"NaN|infinity"):
                SoftmaxRegressionClassifierCV(l1_ratios=[l1_ratio]).fit(X, y)


def test_fits_that_do_not_converge_are_named(wine):
    X, y = wine
    with pytest.warns(ConvergenceWarning, match=r"of 31 fits did not converge: C=.*fold") as told:
        SoftmaxRegressionClassifierCV(cv=3, max_iter=1).fit(X, y)
    assert len(told) == 1
    assert told[0].filename == __file__


# Callbacks, memory -------------------------------------------------------------------------


def test_callbacks_see_every_fit(wine, capsys):
    X, y = wine
    recorder = Recorder()
    clf = SoftmaxRegressionClassifierCV(Cs=CS, cv=3, scoring="accuracy", verbose=1)
    clf.set_callbacks(recorder, ProgressBar()).fit(X, y)
    assert len(recorder.accuracies) == 10
    assert recorder.begun == 11
    assert recorder.events == ["setup", "end", "teardown"]
    printed = capsys.readouterr().out
    assert printed.count("[SoftmaxRegressionClassifierCV] l1_ratio=0, C=") == 3


def test_a_callback_can_stop_the_search(wine):
    X, y = wine
    clf = SoftmaxRegressionClassifierCV(Cs=CS, cv=3, scoring="accuracy")
    clf.set_callbacks(Recorder(stop_after=2)).fit(X, y)
    assert np.isfinite(clf.scores_[..., 0]).all()
    assert np.isnan(clf.scores_[..., 1:]).all()
    assert CS[0] == clf.C_


def peak_of(function):
    """Return the largest number of bytes that a function has in use at once."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("is_sparse", [False, True])
def test_x_is_not_copied(is_sparse):
    X, y = make_classification(20_000, 100, n_informative=10, random_state=0)
    if is_sparse:
        X = sp.random_array((20_000, 2000), density=0.02, format="csr", random_state=0)
    before = X.data.tobytes()
    weight = (np.arange(20_000) % 5 > 0).astype(float)  # (as of one fold)
    one = peak_of(lambda: SoftmaxRegressionClassifier(C=0.1, tol=1e-2).fit(X, y, weight))
    clf = SoftmaxRegressionClassifierCV(Cs=[0.01, 0.1], cv=5, tol=1e-2)
    assert peak_of(lambda: clf.fit(X, y)) < one + 0.4 * (X.nbytes if not is_sparse else 9.6e6)
    assert X.data.tobytes() == before
