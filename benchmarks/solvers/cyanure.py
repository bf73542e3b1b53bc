import numpy as np
from benchmark_utils import EstimatorSolver
from cyanure.estimators import Classifier


class Solver(EstimatorSolver):
    """Cyanure: variance-reduced and quasi-Newton methods in C++, stopped by the duality gap."""

    name = "cyanure"
    requirements = ["pip::cyanure"]
    tolerances = (1e-2, 1e-3, 1e-4, 1e-6)

    def set_objective(self, X, y, C):
        if X.dtype not in (np.float32, np.float64):
            X = X.astype(float)
        self.is_binary = y.max() == 1
        super().set_objective(X, y, C)

    def make_estimator(self, tolerance):
        return Classifier(
            loss="logistic" if self.is_binary else "multiclass-logistic",
            penalty="l2",
            lambda_1=1.0 / (self.C * self.n_rows),
            fit_intercept=True,
            tol=tolerance,
            max_iter=2000,
            n_threads=-1,
            verbose=False,
            safe=False,
        )

    def get_result(self):
        coef = np.asarray(self.estimator.coef_)
        intercept = np.asarray(self.estimator.intercept_).ravel()
        n_outputs = 1 if self.is_binary else len(intercept)
        if coef.shape[0] != n_outputs:
            coef = coef.T
        return {"coef": coef.reshape(n_outputs, -1), "intercept": intercept}
