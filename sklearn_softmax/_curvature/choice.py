r"""What L-BFGS starts from: inverse Hessians, and when to renew them.

L-BFGS builds its steps from an initial inverse Hessian H0 and the last few gradients. With a
multiple of the identity for H0 it needs thousands of iterations on unscaled or correlated
features; with the curvature of the problem itself it needs tens. The Hessian of the mean
cross-entropy is

.. math::
    \frac{1}{S} \sum_i s_i \, (\operatorname{diag}(p_i) - p_i p_i^\top) \otimes z_i z_i^\top
    + \lambda_2 D ,

for scaled rows z with the 1 of the intercept. Models of it, most of them made from a sample of
rows (it steers, and need not be exact):

- :class:`ExactCurvature`: all of it, factored. The steps are Newton's. For problems with up
  to a few thousand parameters.
- :class:`KroneckerCurvature`: exact variances in a Kronecker-factored basis. Costs little
  more than the eigenvectors of the features' covariance.
- :class:`RootCurvature`: a square root of it, where the products that it is made of have lost
  the digits that matter.
- :class:`DiagonalCurvature`: for sparse features, too many to be factored, and for L1
  penalties, where the curvature must be restricted to the parameters that are not zero.

:class:`Curvature` chooses between them by counting operations.
"""

from typing import Any

import numpy as np

from .._arrays.portable import namespace
from .._rows.blocks import spare_bytes
from .diagonal import DiagonalCurvature, LargestCurvature
from .exact import ExactCurvature, n_free_outputs
from .hessians import hessian_cost
from .kronecker import ROWS_PER_COLUMN, KroneckerCurvature
from .square_root import RootCurvature, can_have_root, root_work

# What an exact Hessian, and a sample of rows for it, may take (bytes; a tenth of X if larger).
_EXACT_BYTES = 64 << 20
# Rows of the sample for each parameter: as many as that, and at least so many.
_EXACT_ROWS_PER_PARAMETER = 10
_LEAST_ROWS_PER_PARAMETER = 2
# Modelled costs, in multiplications of a large matrix product: thin products run at a third
# of that rate, a row's softmax costs about 30 for each class, and a call of a solver's step
# some microseconds whatever its size.
_THIN = 3
_SOFTMAX = 30
_OVERHEAD = 3_000_000
# A Hessian that costs no more evaluations than this is cheap.
_CHEAP = 2
# A Hessian is left out if it costs more than so many times the evaluations that seem left without
# it. (Their number is a guess.)
_DEARER = 3
# Steps that L-BFGS remembers: the larger number where an evaluation costs at least so much for each
# parameter, as each step takes five passes over them.
_FEW_STEPS, _MANY_STEPS = 5, 10
_MANY_STEPS_COST = 1000


class Curvature:
    """The H0 of L-BFGS, chosen and renewed by what it costs and saves.

    An H0 is renewed once the evaluations of the objective since the last renewal have cost
    as much as a renewal does. Whatever the problem, that spends at most twice what the
    better of "always renew" and "never renew" would have spent.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its Hessian is modelled.
    """

    def __init__(self, objective):
        self._objective = objective
        # Only steers: a fixed seed makes the steps a function of the data alone.
        self._rng = np.random.default_rng(0)
        self._evaluation_cost = _evaluation_cost(objective)
        self._exact_rows, self._exact_cost = self._plan_exact()
        self._model: Any = None
        self._next_renewal: float = 0
        self._takes_all_rows = False

    def _plan_exact(self):
        """Return the rows to take for an exact Hessian, and its cost (inf: not at all)."""
        objective = self._objective
        n_parameters = n_free_outputs(objective.n_outputs) * objective.n_columns
        n_rows = objective.blocks.n_rows
        allowed_bytes = self._allowed_bytes
        if objective.l1 or n_parameters**2 * 8 > allowed_bytes:
            return 0, np.inf
        row_cost = hessian_cost(n_free_outputs(objective.n_outputs), objective.n_columns)
        affordable = int(4 * self._evaluation_cost / row_cost)
        n_sample = max(_EXACT_ROWS_PER_PARAMETER * n_parameters, affordable)
        if 3 * n_sample > n_rows:  # a sample this large saves little and costs much
            n_sample = n_rows
        else:
            n_sample = min(n_sample, allowed_bytes // (8 * objective.n_columns))
            if n_sample < _LEAST_ROWS_PER_PARAMETER * n_parameters:
                return 0, np.inf
        return n_sample, n_sample * row_cost + n_parameters**3 / 6 + _OVERHEAD

    @property
    def _allowed_bytes(self):
        return spare_bytes(self._objective.blocks, _EXACT_BYTES)

    def is_due(self, n_evaluations):
        """Return whether it is time to renew H0."""
        return n_evaluations >= self._next_renewal

    def update(self, vector, n_evaluations, n_left=np.inf):
        """Renew H0 at ``vector`` if it is time to; return whether it was renewed.

        An exact Hessian is not made anew where it costs more than the ``n_left`` evaluations that
        are left without it.
        """
        if not self.is_due(n_evaluations):
            return False
        exact_pays = self._exact_cost / self._evaluation_cost  # in evaluations
        if self.replaces_steps and exact_pays > max(_DEARER * n_left, _CHEAP):
            return False
        # A Hessian that costs no more than two evaluations need not wait for them.
        if self.replaces_steps or n_evaluations + _CHEAP >= exact_pays:
            if not self.replaces_steps:
                self._model = self._exact_model()
            self._next_renewal = n_evaluations + max(1, round(exact_pays))
        else:
            if self._model is None:
                self._model = self._cheap_model()
            # Early on the probabilities change most; and it costs about as much as an evaluation.
            soon = n_evaluations + 3 + n_evaluations // 4
            self._next_renewal = min(soon, max(exact_pays, n_evaluations + 1))
        self._model.renew(vector)
        return True

    def least_decrement(self, gradient):
        r"""Return what :math:`g^\top H^{-1} g` is at least, for the Hessian H itself.

        It does not rest on a model of H. For a positive semi-definite H of p rows with the
        diagonal D, :math:`g^\top H^{-1} g \ge g^\top D^{-1} g / p`, as the largest eigenvalue of
        :math:`D^{-1/2} H D^{-1/2}` is at most its trace, p.
        """
        gradient = self._objective.unpack(gradient)
        squares = namespace(gradient).sum(gradient * gradient, axis=0)
        n_parameters = gradient.shape[0] * gradient.shape[1]
        return float(squares @ (1.0 / self._objective.largest_curvature)) / n_parameters

    def distrust(self, vector):
        """Put another in place of the model, which has turned out wrong; return whether it has.

        A square root of the Hessian comes first, where that can be had. Otherwise the model of a
        sample is made anew of all rows. At last there is a bound of the Hessian: steps from there
        are short, but they lead down.
        """
        if self.is_bound:
            return False
        if self.can_have_root:
            self._model = RootCurvature(self._objective)
            self._exact_cost = root_work(self._objective)
            self._model.renew(vector)
        elif self._is_sampled and self._may_take_all_rows():
            self._takes_all_rows = True
            is_exact = self.replaces_steps
            self._model = self._exact_model() if is_exact else self._cheap_model()
            self._model.renew(vector)
        else:
            self._model = LargestCurvature(self._objective)
            self._next_renewal = np.inf
        return True

    @property
    def is_bound(self):
        """Whether H0 is a bound: it tells nothing of how far the minimum is."""
        return isinstance(self._model, LargestCurvature)

    @property
    def is_cheap(self):
        """Whether H0 is renewed whenever it is due, whatever else."""
        return self._exact_cost <= _CHEAP * self._evaluation_cost

    @property
    def can_have_root(self):
        """Whether there is a model left that keeps more digits."""
        return not isinstance(self._model, RootCurvature) and can_have_root(self._objective)

    @property
    def is_nearly_singular(self):
        """Whether H0 may have lost digits that matter, in some direction."""
        return getattr(self._model, "is_nearly_singular", False)

    @property
    def _is_sampled(self):
        return not self._takes_all_rows and getattr(self._model, "is_sampled", False)

    def _may_take_all_rows(self):
        rows = self._objective.blocks.n_rows
        return 4 * rows * self._objective.n_columns <= self._allowed_bytes

    @property
    def replaces_steps(self):
        """Whether H0 is the exact Hessian: steps from before it do more harm than good."""
        return isinstance(self._model, ExactCurvature | RootCurvature)

    @property
    def step_memory(self):
        """How many steps L-BFGS shall remember, and the dtype to round them to.

        A diagonal H0 meets each coefficient by itself, and with a relative error of a millionth
        in each it is as good. Another H0 divides by curvatures that differ by many orders of
        magnitude: then an error in one coefficient spoils the others. And where an evaluation
        costs little more than a pass over the parameters, the steps cost more than they save.
        """
        dtype = np.float32 if isinstance(self._model, DiagonalCurvature) else np.float64
        n_parameters = self._objective.n_outputs * self._objective.n_columns
        is_cheap = self._evaluation_cost < _MANY_STEPS_COST * n_parameters
        return (_FEW_STEPS if is_cheap else _MANY_STEPS), dtype

    def _exact_model(self):
        n_rows = self._objective.blocks.n_rows if self._takes_all_rows else self._exact_rows
        return ExactCurvature(self._objective, n_rows, self._rng)

    def _cheap_model(self):
        objective = self._objective
        n_columns = objective.n_columns
        # Eigenvectors of an n x n matrix cost about 10 n**3: as many as 30 evaluations pay.
        affordable = int((3 * self._evaluation_cost) ** (1 / 3))
        if objective.l1 or (objective.blocks.is_sparse and affordable < n_columns):
            return DiagonalCurvature(objective, self._rng)
        n_rows = ROWS_PER_COLUMN * n_columns
        if affordable < n_columns:
            n_rows = max(affordable, 100)
        if self._takes_all_rows or 2 * n_rows > objective.blocks.n_rows:
            n_rows = objective.blocks.n_rows
        return KroneckerCurvature(objective, n_rows, self._rng)

    def solve(self, gradient, free=None):
        """Return H0 times a flat gradient; with a mask ``free``, restricted to those."""
        return self._model.solve(gradient, free)


def _evaluation_cost(objective):
    blocks = objective.blocks
    products = 2 * _THIN * blocks.n_stored * objective.n_outputs
    return products + _SOFTMAX * blocks.n_rows * blocks.n_classes + _OVERHEAD
