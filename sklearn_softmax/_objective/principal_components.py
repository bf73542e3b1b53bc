r"""The space that the rows span, where there are fewer rows than features.

With a ridge penalty the minimum over W lies in the span of the centred rows. The part of W that is
orthogonal to all of them changes no logit, and is penalised. So the problem can be posed for their
principal components, of which there are no more than rows. With the eigenvectors U and eigenvalues
:math:`\Lambda` of the inner products :math:`X X^\top`, the components of the rows are
:math:`U \Lambda^{1/2}`, and coefficients V for them are

.. math::
    W = V Q^\top , \qquad Q = X^\top U \Lambda^{-1/2} , \qquad \|W\| = \|V\|

for the features. It is the same problem, for a square matrix whose columns are not
correlated. X itself is read twice: at the beginning, and for W at the end.
"""

import numpy as np

from .._rows.blocks import RowBlocks, are_dense_in_memory, spare_bytes

# The inner products, the eigenvectors and the components may take so much memory (bytes; a
# tenth of X if larger).
_SPAN_BYTES = 64 << 20
# What they may cost, in evaluations of the loss; and what an entry of X costs in one, where
# there are few classes, in multiplications of a large matrix product. Eigenvectors cost ten
# products of square matrices.
_EVALUATIONS = 40
_ENTRY_COST, _ENTRY_COST_PER_CLASS = 100, 6
_EIGENVECTORS = 10
# Features of which inner products are taken at once.
_PRODUCT_COLUMNS = 512
# Components with a smaller share of the variance than this are lost among the rounding errors ...
_RESOLUTION = 1e-10
# ... which does no harm if what they are, times C, is this small beside the penalty's curvature.
_NEGLIGIBLE = 1e-10


def row_span(blocks, *, center, C):
    """Return the :class:`RowSpan` of rows, or None where it saves nothing or would lose something.

    Parameters
    ----------
    blocks : RowBlocks
        The rows.
    center : bool
        Whether they are centred: whether there is an intercept.
    C : float
        As for the estimator: how little what is lost may be.
    """
    if not _pays(blocks):
        return None
    mean = np.zeros(blocks.n_features)
    with np.errstate(over="ignore", invalid="ignore"):  # (others say what is wrong with X)
        if center:
            weight = np.ones(blocks.n_rows) if blocks.weight is None else blocks.weight
            mean = np.einsum("ij,i->j", blocks.X, weight, dtype=np.float64) / weight.sum()
        centred = _CentredRows(blocks, mean)
        products = centred.inner_products()
    if not np.isfinite(products).all():
        return None
    variances, vectors = np.linalg.eigh(products)
    is_kept = variances > _RESOLUTION * variances[-1]
    if not is_kept.any():
        return None
    lost = centred.combine(vectors[:, ~is_kept].T)
    largest_weight = 1.0 if blocks.weight is None else blocks.weight.max()
    if np.max(np.vecdot(lost, lost), initial=0.0) * C * largest_weight > _NEGLIGIBLE:
        return None
    return RowSpan(centred, vectors[:, is_kept], np.sqrt(variances[is_kept]))


def _pays(blocks):
    """Return whether rows are few enough, and such that their span can be had."""
    if not are_dense_in_memory(blocks):
        return False
    n_rows, n_features = blocks.n_rows, blocks.n_features
    if n_rows >= n_features or 3 * 8 * n_rows**2 > spare_bytes(blocks, _SPAN_BYTES):
        return False
    entry_cost = max(_ENTRY_COST, _ENTRY_COST_PER_CLASS * blocks.n_classes)
    saved = _EVALUATIONS * (n_features - n_rows) * n_rows * entry_cost
    return n_rows**2 * (n_features + _EIGENVECTORS * n_rows) <= saved


class RowSpan:
    """Coefficients for principal components of the rows, and for the features.

    Parameters
    ----------
    centred : _CentredRows
        The rows.
    vectors : ndarray of shape (n_rows, n_components)
        Eigenvectors of their inner products.
    root : ndarray of shape (n_components,)
        The roots of the eigenvalues.

    Attributes
    ----------
    blocks : RowBlocks
        The same rows, with their principal components for features.
    """

    def __init__(self, centred, vectors, root):
        self._centred = centred
        self._weights = vectors / root
        rows = centred.blocks
        self.blocks = RowBlocks(
            vectors * root,
            rows.y,
            rows.weight,
            n_classes=rows.n_classes,
            class_weight=rows.class_weight,
        )
        self.blocks.borrow_threads(rows)

    @property
    def mean(self):
        """The mean of the features."""
        return self._centred.mean

    def from_raw(self, coef, intercept):
        """Return (V, b') for (W, b); what of W is orthogonal to all rows has no part in it."""
        if not coef.any():
            return np.zeros((len(coef), self.blocks.n_features)), intercept
        products = self._centred.project(coef)
        return products @ self._weights, intercept + coef @ self._centred.mean

    def to_raw(self, coef, intercept):
        """Return (W, b) for (V, b')."""
        coef = self._centred.combine(coef @ self._weights.T)
        return coef, intercept - coef @ self._centred.mean


class _CentredRows:
    """Products with rows of ``blocks`` less their ``mean``, on its threads."""

    def __init__(self, blocks, mean):
        self.blocks = blocks
        self.mean = mean

    def inner_products(self):
        """Return those of all rows, (n_rows, n_rows)."""
        return self._sum(lambda part, columns: part @ part.T)

    def project(self, coef):
        """Return the products of a matrix (n_outputs, n_features) with all rows."""
        return self._sum(lambda part, columns: coef[:, columns] @ part.T)

    def combine(self, weights):
        """Return weighted sums of the rows, (n_sums, n_features)."""
        sums = np.empty((len(weights), self.blocks.n_features))

        def run(start, stop):
            for columns, part in self._parts(start, stop):
                sums[:, columns] = weights @ part

        self.blocks.share(run, self.blocks.n_features, self.blocks.n_stored)
        return sums

    def _sum(self, function):
        """Return the sum of ``function(part, columns)`` over parts of the features."""

        def run(start, stop):
            return sum(function(part, columns) for columns, part in self._parts(start, stop))

        return sum(self.blocks.share(run, self.blocks.n_features, self.blocks.n_stored))

    def _parts(self, start, stop):
        """Yield slices of the features ``start:stop``, and the centred rows for each."""
        for low in range(start, stop, _PRODUCT_COLUMNS):
            columns = slice(low, min(low + _PRODUCT_COLUMNS, stop))
            yield columns, self.blocks.X[:, columns] - self.mean[columns]
