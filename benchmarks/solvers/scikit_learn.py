from benchmark_utils import EstimatorSolver
from sklearn.linear_model import LogisticRegression

# Enough to converge where a solver can, few enough to end where it cannot.
MAX_ITER = {"lbfgs": 5000, "newton-cg": 200, "newton-cholesky": 200, "saga": 3000}


class Solver(EstimatorSolver):
    """scikit-learn's LogisticRegression."""

    name = "scikit-learn"
    parameters = {"solver": list(MAX_ITER)}

    def make_estimator(self, tolerance):
        return LogisticRegression(
            solver=self.solver, C=self.C, tol=tolerance, max_iter=MAX_ITER[self.solver]
        )

    def set_objective(self, X, y, C):
        # Left to itself saga computes uint8 and int16 in float64 too, but fails on the first.
        super().set_objective(X.astype(float) if X.dtype.kind in "iub" else X, y, C)
