"""The square root of the Hessian is that of the Hessian, and keeps its digits."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from sklearn_softmax._curvature.square_root import RootCurvature, can_have_root
from sklearn_softmax._objective.linear import SoftmaxObjective
from sklearn_softmax._objective.small_table import TableObjective
from sklearn_softmax._rows.blocks import RowBlocks


def make_objective(rng, kind, *, n_classes, fit_intercept=True, C=0.5):
    X = rng.standard_normal((50, 4)) * [1.0, 0.1, 10.0, 1.0] + [0.0, 1.0, -5.0, 0.0]
    weight = rng.exponential(size=50) * (rng.random(50) < 0.9)
    rows = sp.csr_array(X) if kind == "sparse" else X
    blocks = RowBlocks(rows, rng.integers(0, n_classes, 50), weight, n_classes=n_classes)
    make = TableObjective if kind == "table" else SoftmaxObjective
    return make(blocks, C=C, fit_intercept=fit_intercept)


def products(objective, vector, directions):
    """Return the Hessian times some directions, by central differences of the gradient."""
    h = 1e-5
    return [
        (objective.loss_gradient(vector + h * d)[1] - objective.loss_gradient(vector - h * d)[1])
        / (2 * h)
        for d in directions
    ]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("kind", ["table", "blocks", "sparse"])
def test_it_solves_for_the_hessian(rng, kind, n_classes, fit_intercept):
    objective = make_objective(rng, kind, n_classes=n_classes, fit_intercept=fit_intercept)
    size = objective.n_outputs * objective.n_columns
    vector, *directions = 0.5 * rng.standard_normal((4, size))
    if objective.n_outputs > 1:  # as the steps are
        centred = [objective.unpack(d) - objective.unpack(d).mean(axis=0) for d in directions]
        directions = [objective.pack(d) for d in centred]
        vector = objective.pack(objective.unpack(vector) - objective.unpack(vector).mean(axis=0))
    root = RootCurvature(objective)
    root.renew(vector)
    for direction, product in zip(directions, products(objective, vector, directions), strict=True):
        assert_allclose(root.solve(product), direction, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_sees_a_direction_whose_square_is_rounding(rng, n_classes):
    x = rng.standard_normal((200, 2))
    # The second feature differs from the first by 1e-9 of it: 1e-18 in products.
    X = np.column_stack([x[:, 0], x[:, 0] + 1e-9 * x[:, 1]])
    y = rng.integers(0, n_classes, 200)
    objective = TableObjective(RowBlocks(X, y, None, n_classes=n_classes), C=np.inf)
    root = RootCurvature(objective)
    zero = np.zeros(objective.n_outputs * objective.n_columns)
    root.renew(zero)
    gradient = objective.loss_gradient(zero)[1]
    plain = TableObjective(RowBlocks(x, y, None, n_classes=n_classes), C=np.inf)
    expected = RootCurvature(plain)
    expected.renew(zero)
    gradient_of_x = plain.loss_gradient(zero)[1]
    # The same step in other coordinates: it expects the same decrease.
    assert_allclose(
        gradient @ root.solve(gradient), gradient_of_x @ expected.solve(gradient_of_x), rtol=1e-5
    )


def test_it_is_for_what_is_affordable(rng):
    assert can_have_root(make_objective(rng, "blocks", n_classes=3))
    assert can_have_root(make_objective(rng, "sparse", n_classes=3))
    X, y = np.broadcast_to(rng.standard_normal(300), (20_000, 300)), np.arange(20_000) % 3
    assert not can_have_root(SoftmaxObjective(RowBlocks(X, y, None, n_classes=3), C=1.0))
    few = RowBlocks(X[:50, :4], y[:50], None, n_classes=3)
    assert can_have_root(SoftmaxObjective(few, C=1.0))
    assert not can_have_root(SoftmaxObjective(few, C=1.0, l1_ratio=0.5))
