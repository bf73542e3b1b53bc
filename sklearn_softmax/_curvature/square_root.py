"""A square root of the exact Hessian: for end points that products of rows cannot judge."""

import numpy as np
from scipy.linalg import lapack

from .._rows.blocks import are_dense_in_memory
from .._rows.sums import complement, spread
from .exact import n_free_outputs

# What a root may cost, in multiplications; and the entries of a part of it.
_MOST_WORK = 1e9
_PART = 1 << 20
# Singular values below this, relative to the largest, are rounding errors.
_RESOLUTION = 1e-13


def root_work(objective):
    """Return the multiplications that a square root of the Hessian takes."""
    n_parameters = n_free_outputs(objective.n_outputs) * objective.n_columns
    n_roots = 1 if objective.n_outputs == 1 else objective.n_outputs
    return 2.0 * (objective.blocks.n_rows * n_roots + n_parameters) * n_parameters**2


def can_have_root(objective):
    """Return whether the rows are at hand, and a square root of the Hessian affordable."""
    blocks = objective.blocks
    is_at_hand = are_dense_in_memory(blocks) or (blocks.is_sparse and blocks.is_numpy)
    is_at_hand = is_at_hand and blocks.is_local and blocks.is_in_memory
    return is_at_hand and not objective.l1 and root_work(objective) <= _MOST_WORK


class RootCurvature:
    r"""A matrix A with :math:`A^\top A` the Hessian on all rows, and its singular values.

    The condition number of A is the root of the Hessian's. So directions show their curvature
    which vanishes in the rounding errors of the Hessian: those of nearly collinear features, or of
    rows whose probabilities are all but 0 and 1. A row with the probabilities p adds, for each
    class j, :math:`\sqrt{p_j} \, (e_j - p) \otimes z`, as
    :math:`\operatorname{diag}(p) - p p^\top = \sum_j p_j (e_j - p)(e_j - p)^\top`.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its Hessian is factored.
    """

    is_sampled = is_nearly_singular = False

    def __init__(self, objective):
        self._objective = objective
        self._n_free = n_free_outputs(objective.n_outputs)
        self._size = self._n_free * objective.n_columns

    def renew(self, vector):
        """Compute the root at ``vector``, and its singular values."""
        root = self._penalty_root()
        sample = self._objective.rows.sample(self._objective.blocks.n_rows, None)
        for part, rows in sample.parts():
            step = max(1, _PART // (self._size * self._objective.n_outputs))
            for start in range(0, len(rows), step):
                some = slice(start, start + step)
                root = _triangle(
                    np.vstack([root, self._of_rows(vector, rows[some], sample.weight[part][some])])
                )
        size = np.sqrt(np.einsum("ij,ij->j", root, root))
        self._scale = 1.0 / np.where(size > 0, size, 1.0)
        _, values, vectors = np.linalg.svd(_triangle(root * self._scale), full_matrices=False)
        is_kept = values > max(_RESOLUTION, self._objective.epsilon) * values.max(initial=0.0)
        self._inverse = np.where(is_kept, 1.0 / np.where(is_kept, values, 1.0), 0.0) ** 2
        self._vectors = vectors

    def _of_rows(self, vector, rows, weight):
        """Return the root of what some rows add, for the outputs that are free."""
        proba = self._objective.rows.sample_proba(vector, rows)
        if self._objective.n_outputs == 1:
            return np.sqrt(weight * spread(proba)[1])[:, None] * rows
        # (rows, entries of the root, outputs)
        factors = np.repeat(-proba[: self._n_free].T[:, None, :], len(proba), axis=1)
        k = np.arange(self._n_free)
        factors[:, k, k] = complement(proba)[k].T
        factors *= (np.sqrt(weight) * np.sqrt(proba)).T[:, :, None]
        return (factors[:, :, :, None] * rows[:, None, None, :]).reshape(-1, self._size)

    def _penalty_root(self):
        """Return the root of the penalty's Hessian, where coefficients are centred."""
        n_free, n_outputs = self._n_free, self._objective.n_outputs
        across = np.eye(n_free)
        if n_free < n_outputs:  # whose square is I - 1/n
            across -= (1.0 - n_outputs**-0.5) / n_free
        return np.kron(across, np.diag(np.sqrt(self._objective.l2_columns)))

    def solve(self, gradient, free=None):
        """Return the Newton step for a flat gradient; for all parameters only."""
        gradient = self._objective.unpack(gradient)
        scaled = self._scale * gradient[: self._n_free].ravel()
        solution = self._scale * (self._vectors.T @ (self._inverse * (self._vectors @ scaled)))
        step = np.zeros_like(gradient)
        step[: self._n_free] = solution.reshape(self._n_free, -1)
        if self._n_free < self._objective.n_outputs:
            step -= step.mean(axis=0)
        return self._objective.pack(step)


def _triangle(matrix):
    """Return R of a QR decomposition."""
    if len(matrix) <= matrix.shape[1]:
        return matrix
    found, *_ = lapack.dgeqrf(matrix)
    return np.triu(found[: matrix.shape[1]])
