import warnings

from benchmark_utils import EstimatorSolver

from sklearn_softmax import SoftmaxRegressionClassifier


class Solver(EstimatorSolver):
    """SoftmaxRegressionClassifier, by L-BFGS."""

    name = "sklearn_softmax"
    tolerances = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6)

    def make_estimator(self, tolerance):
        return SoftmaxRegressionClassifier(C=self.C, tol=tolerance)

    def warm_up(self):
        # Compiled loops are loaded, or compiled, once on a machine.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            SoftmaxRegressionClassifier(C=self.C, max_iter=1).fit(self.X, self.y)
