"""Softmax regression's objective, in float64: the one that LogisticRegression minimises."""

import numpy as np
from benchopt import BaseObjective

from sklearn_softmax.functional import cross_entropy

# Rows whose logits are computed in one go.
BLOCK_ROWS = 10_000


class Objective(BaseObjective):
    """Mean cross-entropy plus |W|^2 / (2 C n); the intercepts are free."""

    name = "softmax regression"
    min_benchopt_version = "1.9"
    parameters = {"C": [0.01, 1.0, 100.0]}
    requirements = ["pip::scikit-learn"]
    sampling_strategy = "tolerance"

    def set_data(self, X, y):
        self.X = X
        self.classes, self.y = np.unique(y, return_inverse=True)

    def get_objective(self):
        return {"X": self.X, "y": self.y, "C": self.C}

    def get_one_result(self):
        n_outputs = len(self.classes) if len(self.classes) > 2 else 1
        return {"coef": np.zeros((n_outputs, self.X.shape[1])), "intercept": np.zeros(n_outputs)}

    def evaluate_result(self, coef, intercept):
        coef, intercept = np.asarray(coef, dtype=float), np.asarray(intercept, dtype=float)
        total = 0.5 * (coef**2).sum() / self.C
        for start in range(0, self.X.shape[0], BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            logits = np.asarray(self.X[part] @ coef.T, dtype=float) + intercept
            if logits.shape[1] == 1:
                logits = np.hstack([np.zeros_like(logits), logits])
            total += cross_entropy(logits, self.y[part], reduction="sum")
        return {"value": float(total) / self.X.shape[0]}
