"""Columns of X that people have and solvers dislike, drawn at random.

A kind of column is a function ``kind(draw)`` that returns an array of shape (n_rows,) or
(n_rows, n_columns). ``draw`` is a :class:`Draw`: the labels, and what was drawn before.
"""

import numpy as np


class Draw:
    """What a column may be made from.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws everything.
    labels : ndarray of shape (n_rows,)
        Classes as integers from 0.
    strength : float
        By how many standard deviations classes differ in a typical column.
    """

    def __init__(self, rng, labels, strength):
        self.rng = rng
        self.labels = labels
        self.strength = strength
        self.n_rows = len(labels)
        self.columns = []

    def signal(self):
        """Return an ordinary column: of unit size, its mean shifted by class."""
        shift = self.strength * self.rng.standard_normal(self.labels.max() + 1)
        return self.rng.standard_normal(self.n_rows) + shift[self.labels]

    def earlier(self):
        """Return a column that was drawn before, or an ordinary one."""
        if not self.columns:
            return self.signal()
        return self.columns[self.rng.integers(len(self.columns))]

    def power(self, low, high):
        """Return a power of ten, the exponent drawn from [low, high)."""
        return 10.0 ** self.rng.uniform(low, high)

    def add(self, kind):
        """Draw a column (or some) of a kind, and remember it."""
        drawn = KINDS[kind](self)
        self.columns += list(np.atleast_2d(drawn.T))


def ordinary(draw):
    return draw.power(-2, 2) * draw.signal()


def tiny(draw):
    return draw.rng.choice([1e-8, 1e-12]) * draw.signal()


def huge(draw):
    return draw.power(6, 9) * draw.signal()


def cancelled(draw):
    """Nothing but rounding errors: a standard deviation of some 1e-16."""
    x = draw.signal()
    return x * 3 - x - x - x


def exactly_collinear(draw):
    factors = draw.rng.choice([-1.0, 2.0, 0.5, 1e6, 1 / 3, 0.1], 2)
    return factors[0] * draw.earlier() + draw.rng.integers(2) * factors[1] * draw.earlier()


def nearly_collinear(draw):
    x = draw.earlier()
    return x + draw.power(-12, -3) * max(x.std(), 1e-12) * draw.signal()


def constant(draw):
    return np.full(draw.n_rows, draw.rng.choice([0.0, 1.0, 1e9, 0.1]))


def duplicate(draw):
    return draw.earlier().copy()


def rank_deficient(draw):
    """All principal components of a few columns and their sums: the last are rounding errors."""
    base = np.column_stack([draw.signal() for _ in range(int(draw.rng.integers(1, 4)))])
    table = np.column_stack([base, base @ draw.rng.standard_normal((base.shape[1], 3))])
    table = table - table.mean(axis=0)
    left, singular, _ = np.linalg.svd(table, full_matrices=False)
    return left * singular


def offset(draw):
    return draw.power(-2, 2) * (draw.signal() + draw.rng.choice([-1, 1]) * draw.power(3, 7))


def timestamp(draw):
    return np.round(1.6e9 + 1e7 * draw.signal())


def lognormal(draw):
    return np.exp(np.clip(3 * draw.signal(), -25, 25))


def cauchy(draw):
    return draw.rng.standard_cauchy(draw.n_rows) + draw.signal()


def zero_inflated(draw):
    share = draw.rng.choice([0.5, 0.1, 0.02])
    return np.where(draw.rng.random(draw.n_rows) < share, draw.power(-1, 3) * draw.signal(), 0.0)


def one_hot(draw):
    n_levels = int(draw.rng.integers(2, 6))
    is_informed = draw.rng.random(draw.n_rows) < 0.5 * min(draw.strength, 1.5)
    level = np.where(is_informed, draw.labels, draw.rng.integers(n_levels, size=draw.n_rows))
    return np.eye(n_levels)[level % n_levels]


def rare(draw):
    """A single value that is not zero."""
    x = np.zeros(draw.n_rows)
    x[draw.rng.integers(draw.n_rows)] = draw.power(-2, 4)
    return x


def late(draw):
    """Zero in the first rows, and large after them."""
    start = int(draw.rng.uniform(0.2, 0.95) * draw.n_rows)
    return np.where(np.arange(draw.n_rows) < start, 0.0, draw.power(0, 4) * draw.signal())


def separating(draw):
    return draw.power(-1, 2) * (draw.labels + 0.05 * draw.rng.uniform(-1, 1, draw.n_rows))


def binary(draw):
    return (draw.signal() > 0).astype(float)


def count(draw):
    return draw.rng.poisson(np.exp(np.clip(0.7 * draw.signal(), -5, 5))).astype(float)


KINDS = {
    kind.__name__: kind
    for kind in (
        ordinary,
        tiny,
        huge,
        cancelled,
        exactly_collinear,
        nearly_collinear,
        constant,
        duplicate,
        rank_deficient,
        offset,
        timestamp,
        lognormal,
        cauchy,
        zero_inflated,
        one_hot,
        rare,
        late,
        separating,
        binary,
        count,
    )
}
# Kinds of whole numbers; and kinds most of whose values are zero.
INTEGER_KINDS = ("binary", "count", "one_hot", "timestamp", "constant")
SPARSE_KINDS = ("zero_inflated", "one_hot", "rare", "late", "binary", "count")
