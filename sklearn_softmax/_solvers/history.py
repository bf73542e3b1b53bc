"""The last steps of L-BFGS, and the inverse Hessian that they make of another."""

from typing import Any

import numpy as np
from scipy.linalg import lapack

from .._arrays.portable import as_like, cast, empty, namespace, to_numpy

# Parameters of which sums and differences are taken at once. (Memory is what these wait for;
# threads do not make it faster.)
_CHUNK = 1 << 16
# An exact Hessian, of some iterations ago, is right in size within this factor.
_LARGEST_RESIZE = 10.0
# Below this, relatively, a curvature or a decrement is rounding error.
RESOLUTION = np.finfo(float).eps


class History:
    r"""The last steps s and gradient differences y, and the inverse Hessian H that they make.

    In compact form: with the steps as columns of S and Y, R the upper triangle of
    :math:`S^\top Y` and D its diagonal,

    .. math::
        H = V^\top H_0 V + S R^{-\top} D R^{-1} S^\top, \qquad V = I - Y R^{-1} S^\top .

    That is four products with all steps at once, where the two-loop recursion takes ten passes
    over memory for each. H is symmetric and positive definite for any R with a positive
    diagonal, so S and Y may be rounded.

    Parameters
    ----------
    size : int
        How many steps are remembered.
    dtype : dtype
        What S and Y are stored in.

    References
    ----------
    .. [1] R. Byrd, J. Nocedal, R. Schnabel, "Representations of quasi-Newton matrices and their
       use in limited memory methods", Mathematical Programming 63 (1994), theorem 2.2.
    """

    def __init__(self, size, dtype):
        self._size = size
        self._dtype = np.dtype(dtype)
        self._n_steps = 0
        self._steps: Any = None

    def append(self, vector, new_vector, gradient, new_gradient):
        """Remember a step, unless it shows no curvature."""

        def pairs():
            for part in _parts(vector):
                yield part, new_vector[part] - vector[part], new_gradient[part] - gradient[part]

        product = square = 0.0
        for _, step, difference in pairs():
            product += float(step @ difference)
            square += float(difference @ difference)
        if product <= RESOLUTION * square:
            return
        if self._steps is None:
            shape = (self._size, vector.shape[0])
            self._steps, self._differences = (empty(shape, vector, self._dtype) for _ in range(2))
            self._products = np.zeros((self._size, self._size))
        slot = self._n_steps % self._size
        self._n_steps += 1
        for part, step, difference in pairs():
            self._steps[slot, part] = cast(step, self._dtype)
            self._differences[slot, part] = cast(difference, self._dtype)
        stored = slice(self._n_stored)  # what lies beyond is not yet set
        self._products[stored, slot] = self._dot(self._steps, self._differences[slot, :])
        self._products[slot, slot] = product

    @property
    def _n_stored(self):
        return min(self._n_steps, self._size)

    def _slots(self):
        """Return where the steps are stored, the oldest first."""
        return np.arange(self._n_steps - self._n_stored, self._n_steps) % self._size

    def solve(self, gradient, curvature, free):
        """Return H times ``gradient``, of the problem within the mask ``free`` (None: all)."""
        slots = self._slots()
        if len(slots) and free is None:
            products = self._products[np.ix_(slots, slots)]
        elif len(slots):
            slots, products = self._within(free, slots)
        if not len(slots):
            return curvature.solve(gradient, free)
        diagonal = np.diagonal(products)

        # (LAPACK itself: on a small table SciPy's wrapper takes longer than the work.)
        shares, _ = lapack.dtrtrs(products, self._dot(self._steps, gradient)[slots])
        result = self._combine(gradient, self._differences, slots, -shares, free)
        result = curvature.solve(result, free)
        # H0 is right in proportion more than in size: the last step shows the size.
        last = cast(self._differences[int(slots[-1]), :], np.float64)
        if free is not None:
            last = last * cast(free, np.float64)
        own = float(last @ curvature.solve(last, free))  # (0 if H0 leaves all of it out)
        size = diagonal[-1] / own if own > 0 else 1.0
        if curvature.replaces_steps:  # (a step across a bend shows more than there is elsewhere)
            size = min(max(size, 1 / _LARGEST_RESIZE), _LARGEST_RESIZE)
        remainder = diagonal * shares - size * self._dot(self._differences, result)[slots]
        remainder, _ = lapack.dtrtrs(products, remainder, trans=1)
        return self._combine(result, self._steps, slots, remainder, free, size)

    def _within(self, free, slots):
        """Return the slots of the steps that show curvature within a mask, and their products."""
        stored = slice(self._n_stored)
        differences = self._differences[stored, :] * cast(free, self._dtype)
        products = to_numpy(self._steps[stored, :] @ differences.T)[np.ix_(slots, slots)]
        squares = to_numpy(namespace(free).sum(differences * differences, axis=1))[slots]
        kept = np.diagonal(products) > RESOLUTION * squares
        return slots[kept], products[np.ix_(kept, kept)].astype(float)

    def _dot(self, rows, vector):
        """Return the inner products of stored rows with a vector."""
        rows = rows[: self._n_stored, :]
        total = np.zeros(rows.shape[0])
        for part in _parts(vector):  # sums in float32 are kept short, too
            total += to_numpy(rows[:, part] @ cast(vector[part], self._dtype))
        return total

    def _combine(self, vector, rows, slots, weights, free, size=1.0):
        """Return ``size`` times a vector plus the weighted sum of stored rows, in a new array.

        The rows are taken within the mask ``free`` (None: everywhere).
        """
        rows = rows[: self._n_stored, :]
        by_slot = np.zeros(rows.shape[0], dtype=self._dtype)
        by_slot[slots] = weights
        by_slot = as_like(by_slot, vector)
        result = empty(vector.shape, vector, np.float64)
        for part in _parts(vector):
            total = by_slot @ rows[:, part]
            if free is not None:
                total = total * cast(free[part], self._dtype)
            result[part] = vector[part] * float(size)
            result[part] += total
        return result


def _parts(vector):
    """Yield slices short enough that what is computed of them stays in cache."""
    size = vector.shape[0]
    chunk = _CHUNK if isinstance(vector, np.ndarray) else max(size, 1)
    return (slice(start, min(start + chunk, size)) for start in range(0, size, chunk))
