"""Small tables: the same objective as over blocks, and the probabilities that it keeps."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from sklearn_softmax._objective.linear import SoftmaxObjective
from sklearn_softmax._objective.small_table import TableObjective, is_small
from sklearn_softmax._rows.blocks import RowBlocks


def make_blocks(rng, n_classes, *, soft=False, weighted=False, dtype=np.float64):
    X = rng.standard_normal((40, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, 100]
    y = rng.dirichlet(np.ones(n_classes), 40) if soft else rng.integers(0, n_classes, 40)
    weight = rng.integers(0, 3, 40).astype(float) if weighted else None
    return RowBlocks(X.astype(dtype), y, weight, n_classes=n_classes)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_loss_and_gradient_are_those_over_blocks(
    rng, n_classes, fit_intercept, soft, weighted, label_smoothing
):
    blocks = make_blocks(rng, n_classes, soft=soft, weighted=weighted)
    options = {"C": 0.1, "fit_intercept": fit_intercept, "label_smoothing": label_smoothing}
    table, objective = TableObjective(blocks, **options), SoftmaxObjective(blocks, **options)
    vector = 0.5 * rng.standard_normal(objective.n_outputs * objective.n_columns)
    before = vector.copy()
    loss, gradient = table.loss_gradient(vector)
    expected_loss, expected = objective.loss_gradient(vector)
    assert_allclose(loss, expected_loss, rtol=1e-13)
    assert_allclose(gradient, expected, rtol=0, atol=1e-12)
    assert (vector == before).all()


def test_probabilities_are_those_of_the_parameters_asked_for(rng):
    blocks = make_blocks(rng, 3, weighted=True)
    table, objective = (kind(blocks, C=0.1) for kind in (TableObjective, SoftmaxObjective))
    first, second = rng.standard_normal((2, 15))
    rows, weight = table.rows.sample(40, rng).at_once()
    expected_rows, expected_weight = objective.rows.sample(40, rng).at_once()
    assert_allclose(rows, expected_rows)
    assert_allclose(weight, expected_weight)
    for evaluated in (first, second):
        table.loss_gradient(evaluated)
        for vector in (first, second):
            proba = table.rows.sample_proba(vector, rows)
            assert_allclose(proba, objective.rows.sample_proba(vector, rows), atol=1e-13)
    some = table.rows.sample(10, rng).at_once()[0]
    expected = objective.rows.sample_proba(second, some)
    assert_allclose(table.rows.sample_proba(second, some), expected, atol=1e-13)


def test_float32_rows_are_evaluated_in_float64(rng):
    blocks = make_blocks(rng, 3, dtype=np.float32)
    exact = RowBlocks(blocks.X.astype(np.float64), blocks.y, n_classes=3)
    vector = rng.standard_normal(15)
    scaling = SoftmaxObjective(exact, C=1.0).scaling
    table = TableObjective(blocks, C=1.0, scaling=scaling)
    expected = SoftmaxObjective(exact, C=1.0, scaling=scaling).loss_gradient(vector)
    assert_allclose(table.loss_gradient(vector)[0], expected[0], rtol=1e-12)
    assert table.epsilon < 1e-15


def test_what_is_small():
    y = np.zeros(10, dtype=int)
    assert is_small(RowBlocks(np.ones((10, 3)), y, n_classes=2))
    assert not is_small(RowBlocks(sp.csr_matrix(np.ones((10, 3))), y, n_classes=2))
    assert not is_small(RowBlocks(np.ones((10, 3)), y, n_classes=20_000))
    many = np.zeros(100_000, dtype=int)
    assert not is_small(RowBlocks(np.ones((100_000, 3)), many, n_classes=2))
