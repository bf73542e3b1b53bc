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
- :class:`DualCurvature`: the same in the space that the rows span, where they are fewer than
  the features.
- :class:`KroneckerCurvature`: exact variances in a Kronecker-factored basis. Costs little
  more than the eigenvectors of the features' covariance.
- :class:`DiagonalCurvature`: for sparse features, too many to be factored, and for L1
  penalties, where the curvature must be restricted to the parameters that are not zero.

:class:`Curvature` chooses between them by counting operations.
"""

from typing import Any

import numpy as np
from scipy.linalg import blas, lapack

# What an exact Hessian, and a sample of rows for it, may take (bytes; a tenth of X if larger).
_EXACT_BYTES = 64 << 20
# Rows of the sample for each parameter: as many as that, and at least so many.
_EXACT_ROWS_PER_PARAMETER = 10
_LEAST_ROWS_PER_PARAMETER = 2
_KRONECKER_ROWS_PER_COLUMN = 5
# Rows whose outer products are summed in one go, by the size of the products (bytes).
_OUTER_BYTES = 2 << 20
_OUTER_ROWS = 64
# Rows of a sample for which temporary arrays are made at once.
_PART_ROWS = 512
# All rows of a table this small are kept as a scaled copy (bytes).
_SMALL_TABLE = 1 << 20
# Relative to 1, the variance of a scaled feature: where the penalty is below this, the
# Kronecker basis need not diagonalise it.
_BASIS_RIDGE = 1e-6
# Eigenvalues smaller than this, relative to the largest, are taken for 0.
_RANK_TOLERANCE = 1e-10
# Modelled costs, in multiplications of a large matrix product: thin products run at a third
# of that rate, a row's softmax costs about 30 for each class, and a call of a solver's step
# some microseconds whatever its size.
_THIN = 3
_SOFTMAX = 30
_OVERHEAD = 3_000_000
# Steps that L-BFGS remembers, and the cost of an evaluation for each parameter from which on
# more of them pay: each takes five passes over the parameters.
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
        self._is_dual = self._exact_cost == np.inf and self._plan_dual()
        self._model: Any = None
        self._next_renewal = 0

    def _plan_exact(self):
        """Return the rows to take for an exact Hessian, and its cost (inf: not at all)."""
        objective = self._objective
        n_parameters = _n_free_outputs(objective) * objective.n_columns
        n_rows = objective.blocks.n_rows
        allowed_bytes = self._allowed_bytes
        if objective.l1 or n_parameters**2 * 8 > allowed_bytes:
            return 0, np.inf
        row_cost = n_parameters**2 / 2 + objective.n_outputs * objective.n_columns**2
        affordable = int(4 * self._evaluation_cost / row_cost)
        n_sample = max(_EXACT_ROWS_PER_PARAMETER * n_parameters, affordable)
        if 3 * n_sample > n_rows:  # a sample this large saves little and costs much
            n_sample = n_rows
        else:
            n_sample = min(n_sample, allowed_bytes // (8 * objective.n_columns))
            if n_sample < _LEAST_ROWS_PER_PARAMETER * n_parameters:
                return 0, np.inf
        return n_sample, n_sample * row_cost + n_parameters**3 / 6 + _OVERHEAD

    def _plan_dual(self):
        """Return whether the exact Hessian is affordable among the rows; set its cost."""
        objective = self._objective
        size = DualCurvature.size(objective)
        if (
            not DualCurvature.applies(objective)
            or objective.l1
            or size**2 * 8 > self._allowed_bytes
        ):
            return False
        n_rows = objective.blocks.n_rows
        self._exact_cost = n_rows * size**2 / 2 + size**3 / 6 + 2 * self._evaluation_cost
        return True

    @property
    def _allowed_bytes(self):
        return max(_EXACT_BYTES, self._objective.blocks.n_stored * 8 // 10)

    def is_due(self, n_evaluations):
        """Return whether it is time to renew H0."""
        return n_evaluations >= self._next_renewal

    def update(self, vector, n_evaluations):
        """Renew H0 at ``vector`` if it is time to; return whether it was renewed."""
        if not self.is_due(n_evaluations):
            return False
        # In evaluations; a step from the dual Hessian reads X as often as two more of them.
        exact_pays = self._exact_cost / self._evaluation_cost / (3 if self._is_dual else 1)
        # A Hessian that costs no more than two evaluations need not wait for them.
        if self.replaces_steps or self._is_dual or n_evaluations + 2 >= exact_pays:
            if not self.replaces_steps:
                self._model = self._exact_model()
            self._next_renewal = n_evaluations + max(1, round(exact_pays))
        else:
            if self._model is None:
                self._model = self._cheap_model()
            # Early on the probabilities change most.
            self._next_renewal = min(2 * n_evaluations + 1, max(exact_pays, n_evaluations + 1))
        self._model.renew(vector)
        return True

    @property
    def replaces_steps(self):
        """Whether H0 is the exact Hessian: steps from before it do more harm than good."""
        return isinstance(self._model, ExactCurvature | DualCurvature)

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
        if self._is_dual:
            return DualCurvature(self._objective)
        return ExactCurvature(self._objective, self._exact_rows, self._rng)

    def _cheap_model(self):
        objective = self._objective
        n_columns = objective.n_columns
        # Eigenvectors of an n x n matrix cost about 10 n**3: as many as 30 evaluations pay.
        affordable = int((3 * self._evaluation_cost) ** (1 / 3))
        if objective.l1 or (objective.blocks.is_sparse and affordable < n_columns):
            return DiagonalCurvature(objective, self._rng)
        n_rows = _KRONECKER_ROWS_PER_COLUMN * n_columns
        if affordable < n_columns:
            n_rows = max(affordable, 100)
        return KroneckerCurvature(objective, n_rows, self._rng)

    def solve(self, gradient, free=None):
        """Return H0 times a flat gradient; with a mask ``free``, restricted to those."""
        return self._model.solve(gradient, free)


def _evaluation_cost(objective):
    blocks = objective.blocks
    products = 2 * _THIN * blocks.n_stored * objective.n_outputs
    return products + _SOFTMAX * blocks.n_rows * blocks.n_classes + _OVERHEAD


class ExactCurvature:
    """The Hessian on a sample of rows, with its Cholesky factor.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its Hessian is modelled.
    n_rows : int
        Size of the sample.
    rng : numpy.random.Generator
        Draws the sample.
    """

    def __init__(self, objective, n_rows, rng):
        self._objective = objective
        self._rng = rng
        self._n_rows = n_rows
        self._system = _NewtonSystem(objective.n_outputs, objective.l2_columns)
        self._takes_all = n_rows >= objective.blocks.n_rows
        self._is_small = 8 * n_rows * objective.n_columns <= _SMALL_TABLE
        self._sample: Any = None

    def renew(self, vector):
        """Compute and factor the Hessian at ``vector``."""
        if self._takes_all and not self._is_small:
            hessian = self._sum_over_blocks(vector)
        else:
            if self._sample is None or not self._takes_all:
                self._sample = self._objective.sample(self._n_rows, self._rng)
            rows, weight = self._sample
            proba = self._objective.sample_proba(vector, rows)
            hessian = self._system.sum_over_rows(rows, proba, weight, self._objective.blocks.share)
        self._system.factor(hessian)

    def _sum_over_blocks(self, vector):
        objective = self._objective

        def add_block(block, totals):
            rows = objective.scaled_rows(block)
            weight = np.ones(len(rows)) if block.weight is None else block.weight
            self._system.add(rows, objective.sample_proba(vector, rows), weight, totals[0])

        (hessian,) = objective.blocks.accumulate(add_block, lambda: (self._system.zeros(),))
        hessian /= objective.blocks.total_weight
        return hessian

    def solve(self, gradient, free=None):
        """Return the Newton step for a flat gradient; for all parameters only."""
        return self._objective.pack(self._system.solve(self._objective.unpack(gradient)))


class DualCurvature:
    r"""The whole Hessian where there are fewer rows than features, and a penalty on all of them.

    With :math:`Z` the scaled rows, :math:`D` the penalty and :math:`Z D^{-1} Z^\top = L L^\top`,
    the columns of :math:`T = D^{-1} Z^\top L^{-\top}` span all that the loss depends on, and
    :math:`T^\top D T = I`. In that basis the rows are those of L: the Hessian has a side of
    n_samples instead of n_features. Across it there is only the penalty:

    .. math::
        H^{-1} g = D^{-1} g + T (a - T^\top g) ,

    where a solves the Newton system for :math:`T^\top g`. The intercept is a column of its own.
    X is read twice to solve, and never copied.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its Hessian is modelled.
    """

    def __init__(self, objective):
        self._objective = objective
        blocks = objective.blocks
        self._penalty = objective.l2_columns[: objective.n_features]
        products = objective.row_products()
        ridge = _RANK_TOLERANCE * max(float(np.trace(products)) / len(products), 1e-300)
        products[np.diag_indices_from(products)] += ridge
        self._root = np.linalg.cholesky(products)
        self._rows = self._with_intercept(self._root)
        weight = np.ones(blocks.n_rows) if blocks.weight is None else blocks.weight
        self._weight = weight / weight.sum()
        penalty = np.ones(self._rows.shape[1])
        penalty[blocks.n_rows :] = 0.0
        self._system = _NewtonSystem(objective.n_outputs, penalty)

    @staticmethod
    def size(objective):
        """Return the number of rows of the Hessian."""
        return _n_free_outputs(objective) * (objective.blocks.n_rows + objective.fit_intercept)

    @staticmethod
    def applies(objective):
        """Return whether there are few enough rows, and a penalty."""
        blocks = objective.blocks
        return blocks.n_rows < blocks.n_features and objective.l2 > 0 and not blocks.is_sparse

    def _with_intercept(self, rows):
        if not self._objective.fit_intercept:
            return rows
        return np.hstack([rows, np.ones((len(rows), 1))])

    def renew(self, vector):
        """Compute and factor the Hessian at ``vector``."""
        proba = self._objective.proba(vector)
        share = self._objective.blocks.share
        self._system.factor(self._system.sum_over_rows(self._rows, proba, self._weight, share))

    def solve(self, gradient, free=None):
        """Return the Newton step for a flat gradient; for all parameters only."""
        objective = self._objective
        n_features, n_rows = objective.n_features, objective.blocks.n_rows
        gradient = objective.unpack(gradient)
        step = gradient.copy()
        step[:, :n_features] /= self._penalty
        products = objective.project(step[:, :n_features])
        reduced = np.hstack([self._triangular(products), gradient[:, n_features:]])
        solution = self._system.solve(reduced)
        change = self._triangular(solution[:, :n_rows] - reduced[:, :n_rows], transposed=True)
        step[:, :n_features] += objective.combine(change) / self._penalty
        step[:, n_features:] = solution[:, n_rows:]
        return objective.pack(step)

    def _triangular(self, rows, transposed=False):
        """Return the solutions of L x = row, or L' x = row, as rows."""
        # (In Fortran order L is an upper triangle for LAPACK.)
        solved, _ = lapack.dtrtrs(self._root.T, rows.T, lower=0, trans=int(not transposed))
        return solved.T


class _NewtonSystem:
    """The Hessian of all classes for some columns, factored, to be solved for a gradient.

    Adding a constant to the coefficients of all classes changes no probability, so for three
    and more classes the Hessian of the loss is singular. The last class is held at 0 while
    solving and the step centred over the classes afterwards, which is the step that the
    penalty prefers.

    Parameters
    ----------
    n_outputs : int
        Number of rows of W.
    l2_columns : ndarray of shape (n_columns,)
        Weight of half the square of the parameters of each column.
    """

    def __init__(self, n_outputs, l2_columns):
        self._n_outputs = n_outputs
        self._n_free = max(1, n_outputs - 1)
        self._l2_columns = l2_columns
        self._size = self._n_free * len(l2_columns)

    def zeros(self):
        """Return a Hessian to be added to."""
        return np.zeros((self._size, self._size), order="F")

    def add(self, rows, proba, weight, hessian):
        """Add what rows contribute to the mean, given their probabilities."""
        free = slice(1, None) if self._n_outputs == 1 else slice(self._n_free)
        add_softmax_hessian(rows, proba[free], weight, hessian)

    def sum_over_rows(self, rows, proba, weight, share):
        """Return the sum over rows, on the threads of ``share``."""

        def run(start, stop):
            hessian = self.zeros()
            part = slice(start, stop)
            self.add(rows[part], proba[:, part], weight[part], hessian)
            return hessian

        hessian, *others = share(run, len(rows), len(rows) * self._size**2)
        for other in others:
            hessian += other
        return hessian

    def factor(self, hessian):
        """Add the penalty to a Hessian (which is overwritten), and factor it."""
        n_free, n_columns = self._n_free, len(self._l2_columns)
        by_class = hessian.T.reshape(n_free, n_columns, n_free, n_columns)
        column = np.arange(n_columns)
        for k in range(n_free):
            by_class[k, column, k, column] += self._l2_columns
        if n_free < self._n_outputs:
            # The squared norm of centred coefficients, in terms of those not held at 0.
            by_class[:, column, :, column] -= (self._l2_columns / self._n_outputs)[:, None, None]
        self._factor = _CholeskyFactor(hessian)

    def solve(self, gradient):
        """Return the Newton step for a gradient, both (n_outputs, n_columns)."""
        step = np.zeros_like(gradient)
        solution = self._factor.solve(gradient[: self._n_free].ravel())
        step[: self._n_free] = solution.reshape(self._n_free, -1)
        if self._n_free < self._n_outputs:
            step -= step.mean(axis=0)
        return step


def add_softmax_hessian(rows, proba, weight, hessian):
    r"""Add :math:`\sum_i w_i (\operatorname{diag}(p_i) - p_i p_i^\top) \otimes z_i z_i^\top`.

    Written as a block-diagonal part less one symmetric product :math:`Q^\top Q`, where row i
    of Q is :math:`\sqrt{w_i} \, p_i \otimes z_i`.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_columns)
        The z.
    proba : ndarray of shape (n_outputs, n_rows)
        The p, of all classes or of some.
    weight : ndarray of shape (n_rows,)
        The w.
    hessian : ndarray of shape (n_outputs * n_columns, n_outputs * n_columns)
        Added to in place, in its lower triangle. In Fortran order.
    """
    n_outputs, n_rows = proba.shape
    n_columns = rows.shape[1]
    size = n_outputs * n_columns
    if n_outputs == 1:
        scaled = rows * np.sqrt(proba[0] * (1.0 - proba[0]) * weight)[:, None]
        hessian += scaled.T @ scaled
        return
    by_class = hessian.T.reshape(n_outputs, n_columns, n_outputs, n_columns)
    root = np.sqrt(weight)
    step = max(_OUTER_ROWS, _OUTER_BYTES // (8 * size))
    outers = np.empty((min(step, n_rows), n_outputs, n_columns))
    for start in range(0, n_rows, step):
        part = slice(start, start + step)
        z, p = rows[part], proba[:, part]
        outer = outers[: len(z)]
        # (Left to itself NumPy would lay it out by class, for a copy to be made of.)
        np.multiply((p * root[part]).T[:, :, None], z[:, None, :], out=outer)
        blas.dsyrk(-1.0, outer.reshape(len(z), size).T, beta=1.0, c=hessian, lower=1, overwrite_c=1)
        for k in range(n_outputs):
            by_class[k, :, k, :] += z.T @ ((p[k] * weight[part])[:, None] * z)


class _CholeskyFactor:
    """A positive semi-definite matrix, factored after scaling its diagonal to 1.

    Only the lower triangle is read.
    """

    def __init__(self, matrix):
        diagonal = np.diagonal(matrix)
        smallest = np.finfo(matrix.dtype).eps * diagonal.max(initial=1.0)
        self._scale = 1.0 / np.sqrt(np.maximum(diagonal, smallest))
        scaled = matrix * self._scale * self._scale[:, None]
        ridge = 1e-12
        while True:
            np.fill_diagonal(scaled, 1.0 + ridge)
            # LAPACK itself: on a small table SciPy's wrappers take longer than the work.
            self._factor, failed = lapack.dpotrf(scaled, lower=1, clean=0)
            if not failed:
                return
            ridge *= 100

    def solve(self, vector):
        solution, _ = lapack.dpotrs(self._factor, self._scale * vector, lower=1)
        return self._scale * solution


class KroneckerCurvature:
    r"""Exact variances in a Kronecker-factored basis [1]_ [2]_.

    The basis is :math:`U \otimes T`: U holds the eigenvectors of the mean class curvature
    :math:`\operatorname{diag}(p) - p p^\top`, and T diagonalises the features' covariance and
    the penalty together. In it, the diagonal of the Hessian is taken exactly (on the sample):
    the mean of :math:`[\sum_k U_{ki}^2 p_k - (\sum_k U_{ki} p_k)^2] (T^\top z)_j^2`. With
    fewer rows than columns T spans the rows, and what is orthogonal to them is left to the
    penalty.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its Hessian is modelled.
    n_rows : int
        Size of the sample.
    rng : numpy.random.Generator
        Draws the sample.

    References
    ----------
    .. [1] J. Martens, R. Grosse, "Optimizing neural networks with Kronecker-factored
       approximate curvature", ICML (2015).
    .. [2] T. George et al., "Fast approximate natural gradient descent in a Kronecker-factored
       eigenbasis", NeurIPS (2018).
    """

    def __init__(self, objective, n_rows, rng):
        self._objective = objective
        rows, self._weight = objective.sample(n_rows, rng)
        penalty = objective.l2_columns
        self._metric = 1.0 / np.sqrt(penalty + _BASIS_RIDGE)
        self._basis, self._is_complete = _principal_axes(rows, self._weight, self._metric)
        to_basis = self._basis * self._metric[:, None]
        # The basis needs all digits. Probabilities and variances, means of what is positive, do
        # not, and the sample is the largest thing that a fit keeps.
        self._squares = np.empty((len(rows), to_basis.shape[1]), np.float32)
        for part in _parts(len(rows)):
            np.square(rows[part] @ to_basis, out=self._squares[part], casting="same_kind")
        self._rows = rows.astype(np.float32)
        self._penalty = penalty @ to_basis**2
        # Outside of the span only the penalty is left: 1 in this metric, unless it is tiny.
        self._rest_penalty = max(np.median(penalty * self._metric**2), _BASIS_RIDGE)
        self._all_rows = n_rows >= objective.blocks.n_rows

    def renew(self, vector):
        """Take the class basis and the variances at ``vector``."""
        parts = [self._rows[part] for part in _parts(len(self._rows))]
        proba = np.hstack([self._objective.sample_proba(vector, rows) for rows in parts])
        if self._objective.n_outputs == 1:
            self._classes = np.ones((1, 1))
            spread = proba[1:] * proba[:1]
        else:
            weighted = proba * self._weight
            covariance = np.diag(weighted.sum(axis=1)) - weighted @ proba.T
            # The first eigenvector is constant over the classes, where nothing changes.
            self._classes = np.linalg.eigh(covariance)[1][:, 1:]
            spread = (self._classes**2).T @ proba - (self._classes.T @ proba) ** 2
        spread = (np.maximum(spread, 0.0) * self._weight).astype(np.float32)
        variances = spread @ self._squares + self._penalty
        floor = np.finfo(float).eps * variances.max()
        self._variances = np.maximum(variances, floor)
        if not self._is_complete:
            # Other rows than the sample's reach outside its span; there, expect as little
            # curvature as in the least direction within it.
            beyond = 0.0 if self._all_rows else self._variances.min(axis=1)
            self._rest = np.maximum(np.full(len(spread), self._rest_penalty), beyond)

    def solve(self, gradient, free=None):
        """Return H0 times a flat gradient; for all parameters only."""
        scaled = self._classes.T @ self._objective.unpack(gradient) * self._metric
        inner = scaled @ self._basis
        step = (inner / self._variances) @ self._basis.T
        if not self._is_complete:
            step += (scaled - inner @ self._basis.T) / self._rest[:, None]
        return self._objective.pack(self._classes @ (step * self._metric))


def _principal_axes(rows, weight, metric):
    """Return the eigenvectors of the second moments of ``rows * metric``.

    And whether they span everything.
    """
    n_rows, n_columns = rows.shape
    if n_rows >= n_columns:
        moments = np.zeros((n_columns, n_columns))
        for part in _parts(n_rows):
            moments += rows[part].T @ (rows[part] * weight[part, None])
        return np.linalg.eigh(moments * metric * metric[:, None])[1], True
    rows = rows * metric * np.sqrt(weight)[:, None]
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > _RANK_TOLERANCE * values[-1]
    # The smallest come out with few digits; what is left beside the basis must be orthogonal.
    return np.linalg.qr(rows.T @ (vectors[:, kept] / np.sqrt(values[kept])))[0], False


def _parts(n_rows):
    return (slice(start, start + _PART_ROWS) for start in range(0, n_rows, _PART_ROWS))


class DiagonalCurvature:
    """The diagonal of the Hessian: exact for sparse X, on a sample of rows for dense X.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its Hessian is modelled.
    rng : numpy.random.Generator
        Draws the sample.
    """

    def __init__(self, objective, rng):
        self._objective = objective
        self._sample = None
        if not objective.blocks.is_sparse:
            n_rows = _KRONECKER_ROWS_PER_COLUMN * objective.n_columns
            self._sample = objective.sample(n_rows, rng)

    def renew(self, vector):
        """Compute the diagonal at ``vector``."""
        objective = self._objective
        if self._sample is None:
            diagonal = objective.hessian_diagonal(vector)
        else:
            rows, weight = self._sample
            proba = objective.sample_proba(vector, rows)[-objective.n_outputs :]
            diagonal = (proba * (1 - proba) * weight) @ rows**2 + objective.l2_columns
        floor = np.finfo(float).eps * diagonal.max()
        self._inverse = objective.pack(1.0 / np.maximum(diagonal, floor))

    def solve(self, gradient, free=None):
        """Return the gradient divided by the diagonal; 0 outside of the mask ``free``."""
        step = gradient * self._inverse
        return step if free is None else np.where(free, step, 0.0)


def _n_free_outputs(objective):
    return max(1, objective.n_outputs - 1)
