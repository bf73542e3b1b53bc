"""The duality gap is a bound of the true error, whatever the model is."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import logsumexp

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._objective.duality_gap import duality_gap
from sklearn_softmax._objective.linear import SoftmaxObjective
from sklearn_softmax._objective.small_table import TableObjective
from sklearn_softmax._rows.blocks import RowBlocks


def make_problem(rng, *, n_classes=3, soft=False, weighted=True):
    X = rng.standard_normal((60, 4)) * [1.0, 0.1, 10.0, 1.0] + [0.0, 1.0, -5.0, 0.0]
    y = rng.integers(0, n_classes, 60)
    if soft:
        y = rng.dirichlet(np.ones(n_classes), 60)
    weight = rng.exponential(size=60) * (rng.random(60) < 0.9) if weighted else None
    return X, y, weight


def minimum(X, y, weight, *, C, l1_ratio, fit_intercept, label_smoothing):
    """Return the least objective that SciPy finds, without a line of the package's."""
    weight = np.ones(len(X)) if weight is None else weight
    total = weight.sum()
    target = y if y.ndim == 2 else np.eye(y.max() + 1)[y]
    n_classes = target.shape[1]
    target = (1 - label_smoothing) * target + label_smoothing / n_classes
    n_outputs, n_features = (1 if n_classes == 2 else n_classes), X.shape[1]

    def function(split):
        # The two parts of W are not negative, so that their sum is its absolute value.
        positive, negative, intercept = np.split(
            split, [n_outputs * n_features] * 1 + [2 * n_outputs * n_features]
        )
        coef = (positive - negative).reshape(n_outputs, n_features)
        logits = X @ coef.T + intercept * fit_intercept
        if n_outputs == 1:
            logits = np.hstack([np.zeros_like(logits), logits])
        norm = logsumexp(logits, axis=1, keepdims=True)
        loss = weight @ (norm[:, 0] - (target * logits).sum(axis=1)) / total
        residual = (np.exp(logits - norm) - target) * weight[:, None] / total
        residual = residual[:, -n_outputs:]
        strength = 1.0 / (C * total)
        loss += strength * (1 - l1_ratio) / 2 * np.sum(coef**2)
        loss += strength * l1_ratio * (positive.sum() + negative.sum())
        slope = (residual.T @ X + strength * (1 - l1_ratio) * coef).ravel()
        return loss, np.concatenate(
            [
                slope + strength * l1_ratio,
                -slope + strength * l1_ratio,
                residual.sum(axis=0) * fit_intercept,
            ]
        )

    size = n_outputs * n_features
    start = np.zeros(2 * size + n_outputs)
    bounds = [(0, None)] * (2 * size) + [(None, None)] * n_outputs
    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 50}
    return minimize(
        function, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options
    ).fun


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", ["table", "blocks", "sparse", "soft"])
def test_the_gap_bounds_the_error(rng, kind, n_classes, fit_intercept, l1_ratio):
    X, y, weight = make_problem(rng, n_classes=n_classes, soft=kind == "soft")
    options = {"C": 0.5, "l1_ratio": l1_ratio, "fit_intercept": fit_intercept}
    options["label_smoothing"] = 0.1 * (kind == "blocks")
    least = minimum(X, y, weight, **options)
    rows = sp.csr_matrix(X) if kind == "sparse" else X
    blocks = RowBlocks(rows, y, weight, n_classes=n_classes)
    objective = (TableObjective if kind == "table" else SoftmaxObjective)(blocks, **options)
    for size in (0.0, 0.01, 0.3):
        vector = size * rng.standard_normal(objective.n_outputs * objective.n_columns)
        loss, _ = objective.loss_gradient(vector)
        loss += objective.l1_weights @ np.abs(vector)
        gap = duality_gap(objective, vector)
        assert gap >= loss - least - 1e-9
        assert np.isfinite(gap)


@pytest.mark.parametrize("options", [{}, {"l1_ratio": 1.0}, {"l1_ratio": 0.3, "C": 0.01}])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_fit_publishes_a_gap_that_is_small(wine, options, dtype):
    X, y = wine
    clf = SoftmaxRegressionClassifier(**options).fit(((X - X.mean(0)) / X.std(0)).astype(dtype), y)
    assert clf.duality_gap_ <= 1e-3 * clf.loss_curve_[-1]


def test_a_fit_that_is_cut_off_has_a_gap_that_tells(wine):
    X, y = wine
    best = SoftmaxRegressionClassifier(tol=1e-8).fit(X, y)
    with pytest.warns(match="did not converge"):
        clf = SoftmaxRegressionClassifier(max_iter=2).fit(X, y)
    assert clf.duality_gap_ >= clf.loss_curve_[-1] - best.loss_curve_[-1]


def test_there_is_no_bound_without_a_penalty(iris):
    assert SoftmaxRegressionClassifier(C=np.inf).fit(*iris).duality_gap_ == np.inf


def test_fewer_rows_than_features(rng):
    X, y = rng.standard_normal((30, 200)), rng.integers(0, 3, 30)
    clf = SoftmaxRegressionClassifier(tol=1e-7).fit(X, y)
    assert clf.duality_gap_ < 1e-9
    rotated = SoftmaxRegressionClassifier(tol=1e-7).fit(np.hstack([X] * 2) / np.sqrt(2), y)
    assert_allclose(rotated.loss_curve_[-1], clf.loss_curve_[-1], atol=1e-9)
