from benchmark_utils import EstimatorSolver

from sklearn_softmax import SoftmaxRegressionClassifier


class Solver(EstimatorSolver):
    """SoftmaxRegressionClassifier as it comes."""

    name = "sklearn_softmax defaults"
    tolerances = (1e-4,)

    def make_estimator(self, tolerance):
        return SoftmaxRegressionClassifier(C=self.C)
