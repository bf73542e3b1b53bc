"""scikit-learn's own checks, with nothing expected to fail."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV


@parametrize_with_checks(
    [
        SoftmaxRegressionClassifier(),
        SoftmaxRegressionClassifier(l1_ratio=1.0),
        SoftmaxRegressionClassifier(solver="sgd"),
        SoftmaxRegressionClassifier(solver="sgd", l1_ratio=1.0),
        SoftmaxRegressionClassifierCV(cv=3),
        SoftmaxRegressionClassifierCV(Cs=[0.1, 10.0], l1_ratios=[0.5, 1.0], cv=2),
    ]
)
def test_estimator_checks(estimator, check):
    check(estimator)
