"""Used as any scikit-learn classifier is: pipelines, searches, meta-estimators, callbacks."""

import types

import matplotlib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.inspection import DecisionBoundaryDisplay, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifier, _fitting

matplotlib.use("Agg")
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_pipeline_and_grid_search(wine):
    X, y = wine
    pipeline = make_pipeline(StandardScaler(), SoftmaxRegressionClassifier())
    grid = {
        "softmaxregressionclassifier__C": [0.01, 1.0],
        "softmaxregressionclassifier__l1_ratio": [0.0, 0.5, 1.0],
    }
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2, scoring="neg_log_loss").fit(X, y)
    assert search.best_score_ > -0.2
    assert len(search.cv_results_["params"]) == 6


def test_scores_are_those_of_logistic_regression(wine):
    X, y = wine
    X = StandardScaler().fit_transform(X)
    reference = LogisticRegression(tol=1e-8, max_iter=1000)
    ours = cross_val_score(SoftmaxRegressionClassifier(tol=1e-8), X, y, scoring="neg_log_loss")
    theirs = cross_val_score(reference, X, y, scoring="neg_log_loss")
    assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "method",
    ["sigmoid", "isotonic", pytest.param("temperature", marks=pytest.mark.needs_sklearn("1.8"))],
)
def test_calibration(iris, method):
    X, y = iris
    clf = CalibratedClassifierCV(SoftmaxRegressionClassifier(), method=method).fit(X, y)
    assert clf.score(X, y) > 0.9


def test_one_vs_rest_takes_multi_label_targets(iris):
    X, y = iris
    labels = np.column_stack([y == 0, y > 0, y < 2]).astype(int)
    clf = OneVsRestClassifier(SoftmaxRegressionClassifier()).fit(X, labels)
    assert (clf.predict(X) == labels).mean() > 0.8


def test_voting(iris):
    X, y = iris
    members = [
        ("ours", SoftmaxRegressionClassifier()),
        ("theirs", LogisticRegression(max_iter=500)),
    ]
    assert VotingClassifier(members, voting="soft").fit(X, y).score(X, y) > 0.9


def test_select_from_model(wine):
    X, y = wine
    selector = SelectFromModel(SoftmaxRegressionClassifier(l1_ratio=1, C=0.1)).fit(X, y)
    assert 0 < selector.get_support().sum() < X.shape[1]


def test_inspection(iris):
    X, y = iris[0][:, :2], iris[1]
    clf = SoftmaxRegressionClassifier().fit(X, y)
    importance = permutation_importance(clf, X, y, n_repeats=3, random_state=0)
    assert importance.importances_mean[0] > importance.importances_mean[1]
    display = DecisionBoundaryDisplay.from_estimator(clf, X, response_method="predict_proba")
    assert display.response.shape[-1] == 3
    matplotlib.pyplot.close("all")


def test_tags():
    clf = SoftmaxRegressionClassifier()
    assert is_classifier(clf)
    tags = clf.__sklearn_tags__()
    assert tags.input_tags.sparse
    assert tags.classifier_tags.multi_class
    assert tags.target_tags.required


def test_metadata_routing_of_sample_weight(wine):
    X, y = wine
    weight = np.where(y == 0, 0.0, 1.0)
    weight[:5] = 1.0
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxRegressionClassifier().set_fit_request(sample_weight=True)
        clf.set_score_request(sample_weight=True)
        search = GridSearchCV(clf, {"C": [1.0]}, cv=3).fit(X, y, sample_weight=weight)
        pipeline = make_pipeline(StandardScaler(), clf)
        pipeline[0].set_fit_request(sample_weight=False)
        pipeline.fit(X, y, sample_weight=weight)
    expected = SoftmaxRegressionClassifier().fit(X, y, weight)
    assert_allclose(search.best_estimator_.coef_, expected.coef_, rtol=1e-9)
    scaled = SoftmaxRegressionClassifier().fit(StandardScaler().fit_transform(X), y, weight)
    assert_allclose(pipeline[-1].coef_, scaled.coef_, rtol=1e-9)


class Recorder:
    """A callback that keeps what it is told, and asks to stop after some iterations."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.begun, self.accuracies, self.events = 0, [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.begun += 1

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        if context.parent is None:
            self.events.append("end")
            return False
        self.accuracies.append(fitted_estimator.score(X, y))
        return len(self.accuracies) == self.stop_after


@pytest.mark.needs_sklearn("1.9")
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_callbacks_see_every_iteration(wine, solver):
    X, y = wine
    recorder = Recorder()
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0).set_callbacks(recorder)
    clf.fit(X, y)
    assert len(recorder.accuracies) == clf.n_iter_[0]
    assert recorder.begun == clf.n_iter_[0] + 1
    assert recorder.events == ["setup", "end", "teardown"]
    assert recorder.accuracies[-1] == clf.score(X, y)


@pytest.mark.needs_sklearn("1.9")
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_a_callback_can_stop_the_fit(wine, solver):
    X, y = wine
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0)
    clf.set_callbacks(Recorder(stop_after=3)).fit(X, y)
    assert_array_equal(clf.n_iter_, [3])
    assert len(clf.loss_curve_) == 3
    assert clf.stop_reason_ == "callback"
    assert clf.score(X, y) > 0.5


@pytest.mark.needs_sklearn("1.9")
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_progress_bar_and_scoring_monitor(wine, solver, capsys):
    from sklearn.callback import ProgressBar, ScoringMonitor

    X, y = wine
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0)
    clf.set_callbacks(ProgressBar(), monitor).fit(X, y, sample_weight=np.ones(len(y)))
    scores = monitor.get_logs().data_as_pandas
    scores = scores[scores["task_name"] == "iteration"]
    assert len(scores) == clf.n_iter_[0]
    assert scores["neg_log_loss"].iloc[-1] > scores["neg_log_loss"].iloc[0]
    assert "SoftmaxRegressionClassifier - fit" in capsys.readouterr().out


@pytest.mark.needs_sklearn("1.9")
@quiet
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_callbacks_within_a_grid_search(wine, solver):
    from sklearn.callback import ProgressBar, ScoringMonitor

    X, y = wine
    clf = SoftmaxRegressionClassifier(solver=solver, max_iter=5, random_state=0)
    monitor = ScoringMonitor(scoring="accuracy")
    search = GridSearchCV(clf.set_callbacks(monitor), {"C": [0.1, 1.0]}, cv=2, n_jobs=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    scores = monitor.get_logs(select="all")
    assert sum((log.data_as_pandas["task_name"] == "iteration").sum() for log in scores) == 25


def test_verbose_prints_a_line_an_iteration(wine, capsys):
    X, y = wine
    clf = SoftmaxRegressionClassifier(verbose=1).fit(X, y)
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == clf.n_iter_[0]
    assert lines[-1].startswith("[SoftmaxRegressionClassifier] iteration")
    assert lines[-1].endswith(f"loss {clf.loss_curve_[-1]:.8g}")
    assert last == (
        f"[SoftmaxRegressionClassifier] lbfgs converged; {clf.n_iter_[0]} iterations in all"
    )
    clf.partial_fit(X, y)
    assert "call" in capsys.readouterr().out


def test_verbose_of_epochs_with_validation_rows(wine, capsys):
    X, y = wine
    clf = SoftmaxRegressionClassifier(
        solver="sgd", early_stopping=True, n_iter_no_change=2, random_state=0, verbose=1
    )
    *lines, last = clf.fit(X, y) and capsys.readouterr().out.splitlines()
    scores = clf.validation_score_curve_
    assert len(lines) == len(scores) == clf.n_iter_[0]
    for number, (line, score) in enumerate(zip(lines, scores, strict=True), 1):
        assert line.startswith(f"[SoftmaxRegressionClassifier] epoch {number}: loss ")
        assert line.endswith(f"validation score {score:.8g}")
    assert clf.stop_reason_ == "validation"
    assert "validation score no longer rises" in last


def test_verbose_names_numba_where_it_is_missed(wine, capsys, monkeypatch):
    X, y = wine

    def is_named(*, least_work, is_installed):
        loops = types.SimpleNamespace(add_dense="a loop" if is_installed else None)
        monkeypatch.setattr(_fitting, "_NUMBA_WORK", least_work)
        monkeypatch.setattr(_fitting, "compiled_loops", lambda: loops)
        SoftmaxRegressionClassifier(verbose=1).fit(X, y)
        return capsys.readouterr().out.count("sklearn-softmax[fast]") == 1

    assert is_named(least_work=X.size * 3, is_installed=False)
    assert not is_named(least_work=X.size * 3 + 1, is_installed=False)
    assert not is_named(least_work=X.size * 3, is_installed=True)


@quiet
def test_the_reason_of_a_stop_is_public(wine):
    X, y = wine
    clf = SoftmaxRegressionClassifier().fit(X, y)
    assert clf.stop_reason_ == "converged"
    assert clf.set_params(max_iter=1).fit(X, y).stop_reason_ == "max_iter"
    assert not hasattr(clf.partial_fit(X, y), "stop_reason_")
    sgd = SoftmaxRegressionClassifier(solver="sgd", random_state=0).fit(X, y)
    assert sgd.stop_reason_ == "converged"


def test_concurrent_fits_in_threads(wine):
    X, y = wine
    clf = SoftmaxRegressionClassifier()
    from joblib import Parallel, delayed

    expected = clf.fit(X, y).coef_
    fits = Parallel(n_jobs=4, backend="threading")(
        delayed(lambda: SoftmaxRegressionClassifier().fit(X, y).coef_)() for _ in range(8)
    )
    for coef in fits:
        assert_array_equal(coef, expected)
