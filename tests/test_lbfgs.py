"""L-BFGS on objectives whose minimum is known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_softmax._solvers.lbfgs import lbfgs


class Scaled:
    """The identity times a number, as H0."""

    replaces_steps = is_cheap = is_bound = is_nearly_singular = can_have_root = False
    step_memory = 10, np.float64

    def __init__(self, scale=1.0):
        self._scale = scale

    def is_due(self, n_evaluations):
        return False

    def update(self, vector, n_evaluations, n_left=np.inf):
        return False

    def solve(self, gradient, free=None):
        step = self._scale * gradient
        return step if free is None else np.where(free, step, 0.0)

    def least_decrement(self, gradient):
        return 0.0

    def distrust(self, vector):
        return False


class Quadratic:
    """(v - minimum)' A (v - minimum) / 2 + 1, with relative noise in what is returned."""

    uniform_loss = 1.0

    def __init__(self, size=20, condition=100.0, noise=0.0, epsilon=2.2e-16):
        rng = np.random.default_rng(0)
        basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
        self._matrix = (basis * np.logspace(0, np.log10(condition), size)) @ basis.T
        self.minimum = rng.standard_normal(size)
        self._noise, self._rng, self.epsilon = noise, rng, epsilon
        self.n_evaluations = 0

    def largest_change(self, step):
        return np.abs(step).max()

    def loss_gradient(self, vector):
        self.n_evaluations += 1
        gradient = self._matrix @ (vector - self.minimum)
        loss = 1.0 + 0.5 * gradient @ (vector - self.minimum)
        noise = self._noise * self._rng.standard_normal(len(vector) + 1)
        return loss * (1 + noise[0]), gradient + noise[1:]


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3])
def test_finds_the_minimum_whatever_the_scale_of_h0(scale):
    objective = Quadratic()
    *_, last = lbfgs(objective, Scaled(scale), np.zeros(20), tol=1e-8)
    assert last.status == "converged"
    assert_allclose(last.vector, objective.minimum, atol=1e-6)
    assert last.n_evaluations == objective.n_evaluations < 200


def test_newton_steps_take_one_evaluation_each():
    objective = Quadratic(condition=1.0)
    states = list(lbfgs(objective, Scaled(), np.zeros(20), tol=1e-8))
    assert [state.n_iter for state in states] == [0, 1]
    assert states[-1].n_evaluations == 2
    assert_allclose(states[0].decrement, states[0].loss - 1.0)


@pytest.mark.parametrize("noise", [1e-7, 1e-5])
def test_ends_at_the_limit_of_precision(noise):
    """Where losses and gradients are rounding noise no tolerance can be reached."""
    objective = Quadratic(condition=10.0, noise=noise, epsilon=noise)
    *_, last = lbfgs(objective, Scaled(0.1), np.zeros(20), tol=0.0)
    assert last.status in ("converged", "precision")
    assert last.n_iter < 100
    assert_allclose(last.loss, 1.0, rtol=20 * noise)


class Barrier:
    """v - log v: infinite beyond 0, with its minimum at 1."""

    epsilon, uniform_loss = np.finfo(float).eps, 1.0

    def loss_gradient(self, vector):
        if vector[0] <= 0:
            return np.inf, np.full(1, np.nan)
        return float(vector[0] - np.log(vector[0])), 1 - 1 / vector


def test_trials_may_be_infinite():
    *_, last = lbfgs(Barrier(), Scaled(100.0), np.array([5.0]), tol=1e-10)
    assert_allclose(last.vector, 1.0, rtol=1e-7)


class Wall:
    """A slope that ends at a steep wall: 1 - v, and far more beyond 0.03."""

    epsilon, uniform_loss = 2.2e-16, 1.0

    def loss_gradient(self, vector):
        (v,) = vector
        beyond = max(v - 0.03, 0.0)
        return 1.0 - v + 1e4 * beyond**2, np.array([-1.0 + 2e4 * beyond])


def test_a_step_up_to_a_wall_is_not_a_short_one():
    iterates = lbfgs(Wall(), Scaled(), np.zeros(1), tol=1e-8)
    _, first = next(iterates), next(iterates)
    # (0.01 descends as steeply as the start does, 0.1 is beyond the wall.)
    assert 0.02 < first.vector[0] < 0.04


def test_a_start_that_is_infinite_is_an_error():
    with pytest.raises(ValueError, match="not finite at the start"):
        next(lbfgs(Barrier(), Scaled(), np.array([-1.0]), tol=1e-4))


class Separable:
    """|v - center|^2 / 2, which with an L1 penalty has a minimum in closed form."""

    epsilon, uniform_loss = np.finfo(float).eps, 1.0
    center = np.array([3.0, -2.0, 0.5, -0.1, 0.0])

    def loss_gradient(self, vector):
        return 0.5 * float((vector - self.center) @ (vector - self.center)), vector - self.center


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("start", [np.zeros(5), np.array([1.0, 1.0, -1.0, 1.0, -1.0])])
def test_l1_minimum_is_the_soft_threshold(scale, start):
    weights = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    *_, last = lbfgs(Separable(), Scaled(scale), start, tol=1e-10, l1_weights=weights)
    center = Separable.center
    expected = np.sign(center) * np.maximum(np.abs(center) - weights, 0)
    assert_allclose(last.vector, expected, atol=1e-7)
    assert_array_equal(last.vector[2:4], 0)


def test_memory_for_steps_to_come_is_not_computed_with(monkeypatch):
    empty = np.empty
    monkeypatch.setattr(np, "empty", lambda *args, **kwargs: empty(*args, **kwargs) * 0 + np.inf)
    objective = Quadratic()
    *_, last = lbfgs(objective, Scaled(), np.zeros(20), tol=1e-8)
    assert last.status == "converged"


@pytest.mark.parametrize("noise", [1e-7, 1e-4])
def test_a_rough_objective_gives_way_to_the_exact_one(noise):
    exact = Quadratic()
    rough = Quadratic(noise=noise, epsilon=noise)
    states = list(lbfgs(exact, Scaled(), np.zeros(20), tol=1e-8, rough=rough))
    assert_allclose(states[-1].vector, exact.minimum, atol=1e-6)
    assert states[-1].status == "converged"
    assert [state.n_iter for state in states] == list(range(len(states)))
    assert rough.n_evaluations > 1
    assert states[-1].n_evaluations == rough.n_evaluations + exact.n_evaluations


class Lost(Quadratic):
    """An objective of which rounding leaves nothing: no step seems to lead down."""

    def loss_gradient(self, vector):
        loss, gradient = super().loss_gradient(vector)
        return loss + 1e3 * (self.n_evaluations > 1), gradient


def test_a_rough_objective_that_is_lost_does_no_harm():
    exact, rough = Quadratic(), Lost(epsilon=1e-7)
    states = list(lbfgs(exact, Scaled(), np.zeros(20), tol=1e-8, rough=rough))
    assert_allclose(states[-1].vector, exact.minimum, atol=1e-6)
    assert [state.n_iter for state in states] == list(range(len(states)))


def test_a_rough_objective_is_left_where_little_loss_is_left():
    exact, rough = Quadratic(), Quadratic(noise=1e-7, epsilon=1e-7)
    start = exact.minimum + 30.0  # there the loss is much larger than at the minimum
    rough.uniform_loss = Quadratic().loss_gradient(start)[0]
    states = list(lbfgs(exact, Scaled(), start, tol=1e-8, rough=rough))
    assert_allclose(states[-1].vector, exact.minimum, atol=1e-6)
    assert exact.n_evaluations > rough.n_evaluations


def test_a_start_far_up_does_not_excuse_an_early_end():
    objective = Quadratic(condition=1e6)
    start = objective.minimum + 1e6
    *_, last = lbfgs(objective, Scaled(), start, tol=1e-8)
    assert last.loss < 1.0 + 1e-6
