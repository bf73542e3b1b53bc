from benchmark_utils import EstimatorSolver
from sklearn.linear_model import LogisticRegression


class Solver(EstimatorSolver):
    """LogisticRegression as it comes; it often stops unconverged."""

    name = "scikit-learn defaults"
    tolerances = (1e-4,)

    def make_estimator(self, tolerance):
        return LogisticRegression(C=self.C)
