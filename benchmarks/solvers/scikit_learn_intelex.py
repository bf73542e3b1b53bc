from benchmark_utils import EstimatorSolver
from sklearnex.linear_model import LogisticRegression


class Solver(EstimatorSolver):
    """scikit-learn-intelex: scikit-learn's L-BFGS over oneDAL's loss and gradient."""

    name = "scikit-learn-intelex"
    requirements = ["pip::scikit-learn-intelex"]

    def make_estimator(self, tolerance):
        return LogisticRegression(solver="lbfgs", C=self.C, tol=tolerance, max_iter=5000)

    def set_objective(self, X, y, C):
        super().set_objective(X.astype(float) if X.dtype.kind in "iub" else X, y, C)
