"""Models of the Hessian for many parameters: Kronecker factors, and the diagonal."""

import numpy as np

from ._arrays import as_like, at_least, cast, diagonal_matrix, empty, namespace, to_numpy, zeros

_EPSILON = float(np.finfo(float).eps)
# Rows of a sample for each column.
ROWS_PER_COLUMN = 5
# Rows of a sample for which temporary arrays are made at once.
_PART_ROWS = 512
# Relative to 1, the variance of a scaled feature: where the penalty is below this, the
# Kronecker basis need not diagonalise it.
_BASIS_RIDGE = 1e-6
# Eigenvalues smaller than this, relative to the largest, are taken for 0.
_RANK_TOLERANCE = 1e-10


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
        rows, self._weight = objective.rows.sample(n_rows, rng)
        penalty = objective.l2_columns
        self._xp = xp = namespace(rows)
        self._metric = 1.0 / xp.sqrt(penalty + _BASIS_RIDGE)
        self._basis, self._is_complete = _principal_axes(rows, self._weight, self._metric)
        to_basis = self._basis * self._metric[:, None]
        # The basis needs all digits. Probabilities and variances, means of what is positive, do
        # not, and the sample is the largest thing that a fit keeps.
        self._squares = empty((rows.shape[0], to_basis.shape[1]), rows, np.float32)
        for part in _parts(rows.shape[0]):
            product = rows[part, :] @ to_basis
            product *= product
            self._squares[part, :] = cast(product, np.float32)
        self._rows = cast(rows, np.float32)
        self._penalty = penalty @ to_basis**2
        # Outside of the span only the penalty is left: 1 in this metric, unless it is tiny.
        self._rest_penalty = max(np.median(to_numpy(penalty * self._metric**2)), _BASIS_RIDGE)
        self._all_rows = n_rows >= objective.blocks.n_rows

    def renew(self, vector):
        """Take the class basis and the variances at ``vector``."""
        xp = self._xp
        parts = [self._rows[part, :] for part in _parts(self._rows.shape[0])]
        sample_proba = self._objective.rows.sample_proba
        proba = xp.concat([sample_proba(vector, rows) for rows in parts], axis=1)
        if self._objective.n_outputs == 1:
            self._classes = as_like(np.ones((1, 1)), proba)
            spread = proba[1:, :] * proba[:1, :]
        else:
            weighted = proba * self._weight
            covariance = -(weighted @ proba.T)
            covariance += diagonal_matrix(xp.sum(weighted, axis=1))
            # The first eigenvector is constant over the classes, where nothing changes.
            self._classes = xp.linalg.eigh(covariance)[1][:, 1:]
            spread = (self._classes**2).T @ proba - (self._classes.T @ proba) ** 2
        spread = cast(at_least(spread, 0.0) * self._weight, np.float32)
        variances = spread @ self._squares + self._penalty
        floor = _EPSILON * xp.max(variances)
        self._variances = at_least(variances, floor)
        if not self._is_complete:
            # Other rows than the sample's reach outside its span; there, expect as little
            # curvature as in the least direction within it.
            self._rest = as_like(np.full(spread.shape[0], self._rest_penalty), proba)
            if not self._all_rows:
                self._rest = xp.maximum(self._rest, xp.min(self._variances, axis=1))

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
    xp = namespace(rows)
    n_rows, n_columns = rows.shape
    if n_rows >= n_columns:
        moments = zeros((n_columns, n_columns), rows)
        for part in _parts(n_rows):
            moments += rows[part, :].T @ (rows[part, :] * weight[part, None])
        moments *= metric * metric[:, None]
        if _is_diagonal(moments):
            return diagonal_matrix(xp.ones_like(metric)), True
        return xp.linalg.eigh(moments)[1], True
    rows = rows * metric * xp.sqrt(weight)[:, None]
    values, vectors = xp.linalg.eigh(rows @ rows.T)
    # (They ascend.)
    first = int(xp.sum(xp.astype(values <= _RANK_TOLERANCE * values[-1], xp.int64)))
    # The smallest come out with few digits; what is left beside the basis must be orthogonal.
    return xp.linalg.qr(rows.T @ (vectors[:, first:] / xp.sqrt(values[first:])))[0], False


def _is_diagonal(moments):
    """Return whether features are known not to be correlated, as principal components are."""
    if not isinstance(moments, np.ndarray):
        return False
    rest = moments - np.diag(np.diagonal(moments))
    return bool(np.abs(rest).max() <= _RANK_TOLERANCE * np.diagonal(moments).max())


def _parts(n_rows):
    starts = range(0, n_rows, _PART_ROWS)
    return (slice(start, min(start + _PART_ROWS, n_rows)) for start in starts)


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
            n_rows = ROWS_PER_COLUMN * objective.n_columns
            self._sample = objective.rows.sample(n_rows, rng)

    def renew(self, vector):
        """Compute the diagonal at ``vector``."""
        objective = self._objective
        if self._sample is None:
            diagonal = objective.hessian_diagonal(vector)
        else:
            rows, weight = self._sample
            proba = objective.rows.sample_proba(vector, rows)[-objective.n_outputs :, :]
            diagonal = (proba * (1 - proba) * weight) @ rows**2 + objective.l2_columns
        floor = _EPSILON * namespace(diagonal).max(diagonal)
        self._inverse = objective.pack(1.0 / at_least(diagonal, floor))

    def solve(self, gradient, free=None):
        """Return the gradient divided by the diagonal; 0 outside of the mask ``free``."""
        step = gradient * self._inverse
        return step if free is None else step * cast(free, np.float64)
