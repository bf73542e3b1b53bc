"""Export to ONNX: onnxruntime gives the same labels and probabilities.

It needs skl2onnx and onnxruntime, which ``.ci/run`` installs for it.
"""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV
from sklearn_softmax.onnx import register_converters

onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")

register_converters()

LABELS = {
    "integers": np.arange(3),
    "strings": np.array(["red", "green", "blue"]),
}


def run(model, X, options=None):
    exported = skl2onnx.to_onnx(model, X[:1], options=options)
    session = onnxruntime.InferenceSession(
        exported.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: X})


def assert_same(model, X, tolerance):
    labels, proba = run(model, X, options={"zipmap": False})
    expected = model.predict_proba(X)
    assert_array_equal(labels, model.predict(X))
    assert_allclose(proba, expected, atol=tolerance)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("kind", ["alone", "pipeline", "cross-validation"])
def test_the_same_predictions(wine, n_classes, labels, dtype, tolerance, kind):
    X, y = wine
    rows = y < n_classes
    X = StandardScaler().fit_transform(X[rows]).astype(dtype)
    y = LABELS[labels][y[rows]]
    model = {
        "alone": SoftmaxRegressionClassifier(),
        "pipeline": make_pipeline(StandardScaler(), SoftmaxRegressionClassifier()),
        "cross-validation": SoftmaxRegressionClassifierCV(Cs=[0.01, 1.0], cv=3),
    }[kind]
    assert_same(model.fit(X, y), X, tolerance)


@pytest.mark.parametrize(
    "options", [{"l1_ratio": 1.0, "C": 0.1}, {"fit_intercept": False}, {"label_smoothing": 0.1}]
)
def test_other_models(wine, options):
    X, y = wine
    assert_same(SoftmaxRegressionClassifier(**options).fit(X, y), X, 1e-12)
    sparse = SoftmaxRegressionClassifier(l1_ratio=1.0, C=0.1).fit(X, y).sparsify()
    assert_same(sparse, X, 1e-12)


def test_probabilities_by_class(wine):
    """skl2onnx's default; ONNX has it in float32 only."""
    X, y = StandardScaler().fit_transform(wine[0]).astype(np.float32), wine[1]
    clf = SoftmaxRegressionClassifier().fit(X, np.array(["a", "b", "c"])[y])
    _, proba = run(clf, X)
    assert_allclose(pd.DataFrame(proba)[["a", "b", "c"]], clf.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("option", ["nocl", "output_class_labels", "raw_scores"])
def test_options_that_are_not_supported(wine, option):
    clf = SoftmaxRegressionClassifier().fit(*wine)
    with pytest.raises((NameError, ValueError), match=option):
        run(clf, wine[0], options={id(clf): {option: True}})


def test_within_a_pipeline_with_columns(wine):
    X, y = wine
    columns = ColumnTransformer([("scaled", StandardScaler(), [0, 1, 2])], remainder="passthrough")
    model = make_pipeline(columns, SoftmaxRegressionClassifier()).fit(X, y)
    assert_same(model, X, 1e-9)


def test_the_logistic_regression_needs_no_converter(wine):
    X, y = wine
    clf = SoftmaxRegressionClassifier().fit(X, y)
    assert_same(clf.to_logistic_regression(), X, 1e-12)
