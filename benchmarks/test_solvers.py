"""Each solver minimises our objective: the penalty is scaled right."""

import numpy as np
import pytest
from panel import BENCHMARK, measure, selected
from sklearn.datasets import load_iris

from sklearn_softmax import SoftmaxRegressionClassifier

SOLVERS = selected(BENCHMARK.get_solvers(), None, "solver")


@pytest.mark.parametrize("C", [0.3, 3.0])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_reaches_the_minimum(solver, n_classes, C):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes], y[y < n_classes]
    X = (X - X.mean(axis=0)) / X.std(axis=0)  # for those that need it
    objective = BENCHMARK.get_benchmark_objective().get_instance(C=C)
    objective.set_data(X, y)
    exact = SoftmaxRegressionClassifier(C=C, tol=1e-8).fit(X, y)
    best = objective.evaluate_result(exact.coef_, exact.intercept_)["value"]
    points = []
    measure(solver, objective, points.append)
    # Cyanure's duality gap is the loosest of the stopping rules.
    assert best * (1 - 1e-9) <= points[-1][1] <= best * (1 + 1e-3)


def test_the_penalty_is_that_of_logistic_regression():
    X, y = load_iris(return_X_y=True)
    objective = BENCHMARK.get_benchmark_objective().get_instance(C=0.5)
    objective.set_data(X, y)
    coef = np.zeros((3, 4))
    flat = objective.evaluate_result(coef, np.zeros(3))["value"]
    assert np.isclose(flat, np.log(3))
    coef[0, 0] = 1e-9
    coef += 2.0  # the same for all classes: no probability changes
    assert np.isclose(objective.evaluate_result(coef, np.zeros(3))["value"] - flat, 24 / 150 * 2)
