"""Each peer minimises our objective: the penalty is scaled right."""

import numpy as np
import pytest
from panel import objective
from peers import PEERS
from sklearn.datasets import load_iris

from sklearn_softmax import SoftmaxRegressionClassifier


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", PEERS)
def test_reaches_the_minimum(name, n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes] / 5, y[y < n_classes]
    clf = SoftmaxRegressionClassifier(C=0.3, tol=1e-8).fit(X, y)
    best = objective((clf.classes_, clf.coef_, clf.intercept_), X, y, 0.3)
    *_, fit = PEERS[name](X, y, 0.3)
    assert np.isclose(objective(fit(), X, y, 0.3), best, rtol=1e-5)
