"""What an estimator holds: all of one fit, whatever fails, interrupts or looks on."""

import copy
import pickle
import sys
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_softmax import (
    SoftmaxRegressionClassifier,
    _classifier,
    _prediction,
    _predictor,
    _validation,
)

# Two problems that have neither classes nor the number of features in common.
FEW, MANY = (3, ["a", "b"]), (5, ["c", "d", "e"])


def problem(n_features, labels):
    rng = np.random.default_rng(n_features)
    X = rng.standard_normal((40, n_features))
    return X, np.array(labels)[np.arange(40) % len(labels)]


class Callback:
    """Calls a function at one hook of the root task, or of an iteration."""

    def __init__(self, hook, of_root, function):
        self.hook, self.of_root, self.function = hook, of_root, function

    def _call(self, hook, context):
        if hook == self.hook and (context.parent is None) == self.of_root:
            self.function()

    def setup(self, estimator, context):
        self._call("setup", context)

    def teardown(self, estimator, context):
        self._call("teardown", context)

    def on_fit_task_begin(self, estimator, context):
        self._call("begin", context)

    def on_fit_task_end(self, estimator, context):
        self._call("end", context)


def throw(error):
    raise error


# Fits that fail ----------------------------------------------------------------------------


def before_fitting(case):
    """Return an estimator: new, fitted (to rows with names), or in the middle of a stream."""
    X, y = problem(*FEW)
    frame = pd.DataFrame(X, columns=["x", "y", "z"])
    clf = SoftmaxRegressionClassifier(early_stopping=case == "fitted", random_state=0)
    if case == "fitted":
        clf.fit(frame, y)
    if case == "stream":
        clf.partial_fit(frame, y, classes=["a", "b"])
    return clf.set_params(early_stopping=False)


@pytest.fixture(params=["new", "fitted", "stream"])
def estimator(request):
    return before_fitting(request.param)


class Unchanged:
    """Within it something fails, and leaves the estimator the same objects, unchanged."""

    def __init__(self, estimator, error, match):
        self.estimator = estimator
        self.raises = pytest.raises(error, match=match)

    def _contents(self):
        items = vars(self.estimator).items()
        return {name: pickle.dumps(value) for name, value in items if name != "_skl_callbacks"}

    def __enter__(self):
        self.before, self.contents = dict(vars(self.estimator)), self._contents()
        self.raises.__enter__()

    def __exit__(self, *exc_info):
        result = self.raises.__exit__(*exc_info)
        after = vars(self.estimator)
        assert after.keys() == self.before.keys()
        assert all(after[name] is value for name, value in self.before.items())
        assert self._contents() == self.contents
        return result


X, Y = problem(*MANY)
FAILURES = {
    "parameter": ({"tol": -1.0}, (X, Y), "'tol' parameter"),
    "shape": ({}, (X[0], Y), "Expected 2D array|Reshape|two dimensions"),
    "NaN": ({}, (np.where(X > 2, np.nan, X), Y), "NaN"),
    "length": ({}, (X, Y[1:]), "inconsistent numbers"),
    "weight": ({}, (X, Y, -np.ones(40)), "[Nn]egative"),
    "classes": ({}, (X, Y[:1].repeat(40)), "one class"),
    "class weight": ({"class_weight": {"nobody": 1.0}}, (X, Y), "class_weight|weight"),
    "warm start": ({"warm_start": True}, (X, Y), "warm_start needs"),
    "soft labels": ({}, (X, np.ones((40, 3))), "multi-label"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_bad_input(estimator, failure):
    parameters, arguments, match = FAILURES[failure]
    if failure == "warm start" and not hasattr(estimator, "coef_"):
        estimator.set_params(random_state=0).fit(*problem(*FEW))
    estimator.set_params(**parameters)
    with Unchanged(estimator, ValueError, match):
        estimator.fit(*arguments)


BAD_CHUNKS = {
    "parameter": ({"tol": -1.0}, {}, "'tol' parameter"),
    "cosine": ({"learning_rate": "cosine"}, {}, "cosine"),
    "early stopping": ({"early_stopping": True}, {}, "early_stopping"),
    "infinity": ({}, {"X": np.where(X[:, :3] > 1, np.inf, X[:, :3])}, "infinity"),
    "label": ({}, {"y": Y}, "c"),
    "length": ({}, {"y": Y[1:]}, "inconsistent numbers"),
}


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
@pytest.mark.parametrize("failure", BAD_CHUNKS)
def test_bad_chunks(estimator, failure):
    parameters, arguments, match = BAD_CHUNKS[failure]
    chunk = dict(zip(("X", "y"), problem(*FEW), strict=True), classes=["a", "b"])
    estimator.set_params(**parameters)
    with Unchanged(estimator, ValueError, match):
        estimator.partial_fit(**{**chunk, **arguments})


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
@pytest.mark.parametrize("arguments", [{"X": X, "y": Y}, {"classes": ["a", "c"]}])
def test_chunks_of_another_problem(arguments):
    clf = before_fitting("stream")
    chunk = dict(zip(("X", "y"), problem(*FEW), strict=True))
    with Unchanged(clf, ValueError, "expecting 3 features|classes is"):
        clf.partial_fit(**{**chunk, **arguments})


@pytest.mark.needs_sklearn("1.9")
@pytest.mark.parametrize(
    ("hook", "of_root"),
    [
        ("setup", True),
        ("begin", True),
        ("begin", False),
        ("end", False),
        ("end", True),
        ("teardown", True),
    ],
)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_callbacks_that_raise(estimator, hook, of_root, error):
    estimator.set_callbacks(Callback(hook, of_root, lambda: throw(error("by the callback"))))
    with Unchanged(estimator, error, "by the callback"):
        estimator.fit(X, Y)


def test_a_warning_that_is_turned_into_an_error(estimator):
    estimator.set_params(max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Unchanged(estimator, ConvergenceWarning, "did not converge"):
            estimator.fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="did not converge") as told:
        estimator.fit(X, Y)
    assert_array_equal(estimator.n_iter_, [1])
    assert told[0].filename == __file__


# At every line -----------------------------------------------------------------------------

FILES = {module.__file__ for module in (_classifier, _prediction, _predictor, _validation)}


class AtLine:
    """Calls a function before the n-th line that is executed in some of our files (0: at all)."""

    def __init__(self, function, n=0):
        self.function, self.n, self.n_lines = function, n, 0

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in FILES:
            return None
        if event in ("call", "line"):
            self.n_lines += 1
            if self.n in (0, self.n_lines):
                sys.settrace(None)
                self.function()
                sys.settrace(self)
        return self

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *exc_info):
        sys.settrace(self._before)


def fitted_to(which):
    return SoftmaxRegressionClassifier(tol=0.1).fit(*problem(*which))


def model_of(clf):
    names = "coef_", "intercept_", "classes_", "n_features_in_", "n_iter_", "loss_curve_"
    return {name: np.asarray(vars(clf)[name]).tolist() for name in names}


def test_fits_interrupted_at_every_line():
    """The model is the old one or the new one, and never some of each."""
    old, new = model_of(fitted_to(FEW)), model_of(fitted_to(MANY))
    n_kept = n = 0
    while True:
        n += 1
        clf = fitted_to(FEW)
        line = AtLine(lambda: throw(KeyboardInterrupt), n)
        try:
            with line:
                clf.fit(*problem(*MANY))
        except KeyboardInterrupt:
            n_kept += model_of(clf) == old
            assert model_of(clf) in (old, new)
        else:
            break
    assert n - 1 == line.n_lines > 50
    # (Between the last but one line and the last the model is published.)
    assert n_kept >= n - 3


def test_whoever_reads_during_a_fit_reads_one_model():
    models = [model_of(fitted_to(which)) for which in (FEW, MANY)]
    seen, clf = [], fitted_to(FEW)
    with AtLine(lambda: seen.append(models.index(model_of(clf)))):
        clf.fit(*problem(*MANY))
    assert seen == sorted(seen)
    assert set(seen) == {0, 1}
    assert len(seen) > 50


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score"])
def test_predictions_during_which_the_model_is_replaced(method):
    X, y = problem(*FEW)
    arguments = (X, y) if method == "score" else (X,)
    expected = getattr(fitted_to(FEW), method)(*arguments)
    n = n_lines = 0
    while n <= n_lines:
        n += 1
        clf = fitted_to(FEW)
        with AtLine(lambda clf=clf: clf.fit(*problem(*MANY)), n) as line:
            try:
                predicted = getattr(clf, method)(*arguments)
            except ValueError as error:
                # (It was replaced before it was read: these are the features of the other.)
                assert "X has 3 features" in str(error)  # noqa: PT017
            else:
                assert_array_equal(predicted, expected)
        n_lines = max(n_lines, line.n_lines)
    assert n_lines > 20


def test_attributes_can_be_listed_while_they_are_replaced():
    X, y = problem(*FEW)
    clf = SoftmaxRegressionClassifier(early_stopping=True, random_state=0).fit(X, y)
    names = []
    for number, name in enumerate(vars(clf)):
        names.append(name)
        clf.set_params(early_stopping=number % 2 == 0).fit(X, y)
    assert "coef_" in names


def test_predictions_beside_a_thread_that_fits():
    X, y = problem(*FEW)
    few = SoftmaxRegressionClassifier(tol=0.1).fit(X, y)
    other = SoftmaxRegressionClassifier(tol=0.1).fit(X, y[::-1])
    expected = [few.predict_log_proba(X), other.predict_log_proba(X)]
    assert not np.allclose(*expected)
    done = threading.Event()

    def refit():
        for turn in range(100):
            few.fit(X, y if turn % 2 else y[::-1])
        done.set()

    thread = threading.Thread(target=refit)
    thread.start()
    while not done.is_set():
        seen = few.predict_log_proba(X)
        assert any(np.allclose(seen, one, rtol=1e-12) for one in expected)
    thread.join()


# What is published -------------------------------------------------------------------------


@pytest.mark.needs_sklearn("1.9")
def test_parameters_set_during_a_fit_stay():
    clf = SoftmaxRegressionClassifier()
    callback = Callback("end", False, lambda: clf.set_params(C=7.0))
    clf.set_callbacks(callback).fit(X, Y)
    assert clf.C == 7.0
    assert_allclose(clf.coef_, SoftmaxRegressionClassifier().fit(X, Y).coef_)


def test_nothing_of_the_last_fit_is_left():
    clf = before_fitting("fitted")
    assert {"validation_score_curve_", "feature_names_in_"} <= vars(clf).keys()
    clf.fit(X, Y)
    expected = vars(SoftmaxRegressionClassifier(random_state=0).fit(X, Y)).keys()
    assert vars(clf).keys() == expected


def test_no_validation_scores_after_a_chunk():
    X, y = problem(*FEW)
    clf = SoftmaxRegressionClassifier(early_stopping=True, random_state=0).fit(X, y)
    assert clf.validation_score_curve_
    clf.set_params(early_stopping=False).partial_fit(X, y)
    assert not hasattr(clf, "validation_score_curve_")


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_a_warm_start_at_the_optimum(l1_ratio):
    clf = SoftmaxRegressionClassifier(warm_start=True, tol=1e-3, l1_ratio=l1_ratio)
    loss = clf.set_params(tol=1e-6).fit(X, Y).loss_curve_[-1]
    before = clf.coef_
    clf.set_params(tol=1e-3).fit(X, Y)
    assert_array_equal(clf.n_iter_, [0])
    assert_allclose(clf.loss_curve_, [loss], rtol=1e-9)
    assert_allclose(clf.coef_, before, rtol=0, atol=1e-12)


@pytest.mark.needs_sklearn("1.9")
def test_callbacks_see_the_features_of_this_fit():
    """Of the fit that they are called from, and not of the one before."""

    class Scorer(Callback):
        def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
            self.function(fitted_estimator.score(X, y), fitted_estimator.n_features_in_)

    seen = []
    clf = before_fitting("fitted")
    clf.set_callbacks(Scorer("", True, lambda *values: seen.append(values)))
    clf.fit(X, Y)
    assert {n_features for _, n_features in seen} == {5}
    assert seen[-1][0] == clf.score(X, Y)


# Copies ------------------------------------------------------------------------------------

COPIES = {
    "pickle": lambda clf: pickle.loads(pickle.dumps(clf)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("is_sparse", [False, True])
def test_copies_in_the_middle_of_a_stream(copied, is_sparse):
    """Both go on alike, and neither with the other."""
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 4)) * (rng.random((600, 4)) < 0.7)
    y = (X[:, 0] + rng.standard_normal(600) > 0).astype(int)
    X = sp.csr_array(X) if is_sparse else X
    chunks = [slice(start, start + 200) for start in range(0, 600, 200)]
    clf = SoftmaxRegressionClassifier(random_state=0).partial_fit(X[:200], y[:200], classes=[0, 1])
    other = COPIES[copied](clf)
    for chunk in chunks[1:]:
        clf.partial_fit(X[chunk], y[chunk])
    once = model_of(clf)
    for chunk in chunks[1:]:
        other.partial_fit(X[chunk], y[chunk])
    assert model_of(other) == once == model_of(clf)
    assert not hasattr(clone(clf), "coef_")
    assert not hasattr(clone(clf), "_stream")


@pytest.mark.parametrize("copied", COPIES)
def test_copies_in_the_middle_of_a_fit(copied):
    old, copies = model_of(fitted_to(FEW)), []
    clf = fitted_to(FEW)
    with AtLine(lambda: copies.append(COPIES[copied](clf)), 40):
        clf.fit(*problem(*MANY))
    (middle,) = copies
    assert model_of(middle) == old
    assert_array_equal(middle.fit(X, Y).coef_, clf.coef_)


@pytest.mark.needs_sklearn("1.9")
@pytest.mark.parametrize(
    ("name", "options"), [("ProgressBar", {}), ("ScoringMonitor", {"scoring": "accuracy"})]
)
def test_copies_with_callbacks(name, options, capsys):
    import sklearn.callback

    callback = getattr(sklearn.callback, name)(**options)
    clf = SoftmaxRegressionClassifier().set_callbacks(callback).fit(X, Y)
    for copied in (pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf), clone(clf)):
        assert_array_equal(copied.fit(X, Y).coef_, clf.coef_)
        assert len(copied._skl_callbacks) == 1
        assert not any(name.startswith("_callback") for name in vars(copied))
