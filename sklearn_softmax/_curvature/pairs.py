"""The exact Hessian of the loss on some pairs of a class and a column, and how large columns are.

A model with few coefficients that are not zero has a small Hessian, whatever the number of
features: it takes the columns of those, and no others.
"""

import functools
import itertools
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import blas

from .._objective.scaled_rows import scaled_rows, slices
from .._rows.sums import spread, with_reference
from ..functional import softmax
from .entries import EntryRows

# What the products of some rows' features and probabilities may take (bytes).
_PRODUCT_BYTES = 4 << 20
_FEWEST_ROWS = 64
# The same for the logits of sparse rows.
_LOGIT_BYTES = 32 << 20
# An evaluation takes no less time than so many multiplications, however small the table.
_LEAST_EVALUATION = 2_000_000
_SPARSE_COST = 10.0
# No Hessian is made of more parameters than this.
_MOST_PAIRS, _FEWEST_PAIRS = 3000, 32
# Of more than this, sparse rows that can be taken entry by entry need none. So many parameters,
# relative to all, then cost an evaluation.
_FEW_PAIRS, _ENTRIES_COST = 300, 0.1


class PairCurvature:
    """Second derivatives of an objective by some of its parameters.

    Parameters
    ----------
    objective : SoftmaxObjective
        Its rows, its scaling and the layout of its parameters.
    minimise : callable
        :func:`sklearn_softmax._solvers.quadratic.minimise`.
    """

    def __init__(self, objective, minimise):
        self._objective = objective
        self._minimise = minimise

    def most_pairs(self, n_evaluations):
        """Return of how many parameters a model costs so many evaluations of loss and gradient."""
        if self._can_descend:
            objective = self._objective
            every = objective.n_outputs * objective.n_columns
            return int(min(1.0, n_evaluations * _ENTRIES_COST) * every)
        affordable = np.sqrt(n_evaluations / self._cost_of_pair)
        return int(min(_MOST_PAIRS, max(affordable, _FEWEST_PAIRS)))

    @property
    def _cost_of_pair(self):
        """What a Hessian costs for each square of the number of its parameters, in evaluations."""
        objective = self._objective
        evaluation = 2.0 * objective.blocks.n_stored * objective.n_outputs
        if self._is_by_entries:
            # (Sparse products, of the loss and the Hessian, go slowly beside dense ones.)
            evaluation, hessian = _SPARSE_COST * evaluation, 0.0
        else:
            hessian = 0.5 * objective.blocks.n_rows
        return (hessian + 1 / 3) / max(evaluation, _LEAST_EVALUATION)

    @property
    def _is_by_entries(self):
        return self._objective.blocks.is_sparse and self._objective.scaling.is_trivial

    @functools.cached_property
    def _can_descend(self):
        return EntryRows.applies(self._objective)

    @functools.cached_property
    def _entries(self):
        return EntryRows(self._objective)

    def minimiser(self, matrix, pairs, gradient, l1):
        """Return what finds the minimum of the quadratic model over some parameters.

        Parameters
        ----------
        matrix : ndarray of shape (n_outputs, n_columns)
            Where the model is taken. No column has one that is not zero but those of the pairs.
        pairs : tuple of ndarray of int
            Outputs and columns of the parameters, ordered by output.
        gradient, l1 : ndarray of shape (n_pairs,)
            The derivative of the smooth part there, and the weights of the absolute values.

        Returns
        -------
        callable
            ``minimise(radius, accuracy)`` returns the parameters at the minimum: see
            :func:`~sklearn_softmax._solvers.quadratic.minimise`, which these are passed to.
        """
        if self._can_descend and len(pairs[0]) > _FEW_PAIRS:
            return self._entries.model(matrix, pairs, gradient, l1).minimise
        hessian = self.hessian(matrix, pairs)
        least = np.finfo(float).eps * self._objective.largest_curvature[pairs[1]]
        diagonal = np.einsum("ii->i", hessian)
        np.maximum(diagonal, least, out=diagonal)

        def minimise(radius, accuracy):
            return self._minimise(hessian, gradient, matrix[pairs], l1, radius, accuracy)[0]

        return minimise

    def hessian(self, matrix, pairs):
        """Return the Hessian of the smooth part of the objective by some parameters.

        Parameters
        ----------
        matrix : ndarray of shape (n_outputs, n_columns)
            The parameters. No column has one that is not zero but those of the pairs.
        pairs : tuple of ndarray of int
            Outputs and columns of the parameters, ordered by output.

        Returns
        -------
        ndarray of shape (n_pairs, n_pairs)
        """
        objective = self._objective
        row_sum = _PairSum.of(objective, matrix, *pairs)
        table = getattr(objective, "table", None)
        if table is None:
            totals = objective.blocks.accumulate(row_sum)
            total_weight = objective.blocks.total_weight
        else:
            totals, total_weight = row_sum.zeros(), 1.0
            row_sum.add_rows(table[:, row_sum.table_columns], objective.share, totals)
        hessian = row_sum.assembled(totals) / total_weight
        hessian[np.diag_indices_from(hessian)] += objective.l2_columns[pairs[1]]
        return hessian

    def largest_entries(self):
        """Return the largest absolute value of each column, as the scaled parameters see it."""
        objective = self._objective
        largest, lock = np.zeros(objective.n_columns), threading.Lock()

        def look(index, block):
            if sp.issparse(block.X):
                # (Sparse blocks come one after another.)
                np.maximum(largest, self._largest_stored(block.X), out=largest)
                return
            size = max(_FEWEST_ROWS, _PRODUCT_BYTES // (8 * objective.n_columns))
            for part in slices(0, block.X.shape[0], size):
                rows = scaled_rows(block.X[part], objective.scaling, objective.fit_intercept)
                found = np.abs(rows).max(axis=0, initial=0.0)
                with lock:
                    np.maximum(largest, found, out=largest)

        objective.blocks.for_each(look)
        return largest

    def _largest_stored(self, X):
        """Return bounds of the same for sparse rows, without a look at what they do not store."""
        objective, scaling = self._objective, self._objective.scaling
        sizes = np.zeros(objective.n_features)
        np.maximum.at(sizes, X.indices, np.abs(X.data))
        largest = (sizes + np.abs(scaling.center)) / scaling.scale
        return np.append(largest, 1.0) if objective.fit_intercept else largest


@dataclass(frozen=True, eq=False)
class _PairSum:
    """The weighted sum of the rows' Hessians by some parameters.

    Attributes
    ----------
    matrix : ndarray of shape (n_outputs, n_used + fit_intercept)
        The parameters of the features that are used, and the intercepts.
    features : ndarray of int, of shape (n_used,)
    scaling : Scaling
        Of those features.
    fit_intercept : bool
    segments : list of (int, slice, ndarray of int)
        An output, which pairs are its, and their columns among those that are used.
    n_pairs : int
    n_features : int
        Of X.
    """

    matrix: Any
    features: Any
    scaling: Any
    fit_intercept: bool
    segments: Any
    n_pairs: int
    n_features: int
    is_compiled = False
    block_rows = None

    @classmethod
    def of(cls, objective, matrix, outputs, columns):
        """Return the sum for the pairs of an objective's parameters."""
        n_features = objective.n_features
        features = np.unique(columns[columns < n_features])
        used = np.append(features, n_features) if objective.fit_intercept else features
        places = np.searchsorted(used, columns)
        bounds = np.searchsorted(outputs, np.arange(objective.n_outputs + 1))
        segments = [
            (k, slice(low, high), places[low:high])
            for k, (low, high) in enumerate(itertools.pairwise(bounds))
            if high > low
        ]
        scaling = objective.scaling.of_columns(features)
        rest = objective.fit_intercept, segments, len(columns), n_features
        return cls(matrix[:, used], features, scaling, *rest)

    @property
    def table_columns(self):
        """The columns of a table of scaled rows that are used."""
        if not self.fit_intercept:
            return self.features
        return np.append(self.features, self.n_features)

    def zeros(self):
        """Return totals: of pairs of different outputs, and of those of each one."""
        sizes = [len(places) for _, _, places in self.segments]
        whole = np.zeros((self.n_pairs, self.n_pairs), order="F")
        return (whole, *(np.zeros((size, size)) for size in sizes))

    def add(self, block, totals, share=None):
        """Add a block's."""
        weight = block.row_weights
        if sp.issparse(block.X) and self.scaling.is_trivial:
            self._add_entries(sp.csr_array(block.X), weight, totals)
            return
        for part in slices(0, block.X.shape[0], self._part_rows):
            X = block.X[part][:, self.features]
            rows = scaled_rows(X, self.scaling, self.fit_intercept)
            self._add_part(rows, weight[part], totals)

    def add_rows(self, rows, weight, totals):
        """Add what rows as the scaled parameters see them contribute."""
        for part in slices(0, len(rows), self._part_rows):
            self._add_part(rows[part], weight[part], totals)

    @property
    def _part_rows(self):
        return max(_FEWEST_ROWS, _PRODUCT_BYTES // (8 * max(self.n_pairs, 1)))

    def _add_part(self, rows, weight, totals):
        proba = softmax(with_reference(self.matrix @ rows.T), axis=0)
        variance = spread(proba)
        first = len(proba) - len(self.matrix)
        whole, *blocks = totals
        root = np.sqrt(weight)
        products = np.empty((len(rows), self.n_pairs))
        for (k, pairs, places), block in zip(self.segments, blocks, strict=True):
            z = rows[:, places]
            np.multiply(z, (proba[first + k] * root)[:, None], out=products[:, pairs])
            # (By itself: as a difference of p and its square it would lose digits.)
            z *= (np.sqrt(variance[first + k]) * root)[:, None]
            block += z.T @ z
        if len(blocks) > 1:
            blas.dsyrk(-1.0, products.T, beta=1.0, c=whole, lower=1, overwrite_c=1)

    def _add_entries(self, X, weight, totals):
        """Add what sparse rows contribute, by what is stored of them alone.

        A row has few of the features, and so few of the pairs: their products are sparse. Those
        of the intercepts, which all rows have, are not.
        """
        for part in slices(
            0, X.shape[0], max(_FEWEST_ROWS, _LOGIT_BYTES // (8 * len(self.matrix)))
        ):
            self._add_sparse_part(X[part], weight[part], totals)

    def _add_sparse_part(self, X, weight, totals):
        n_used = len(self.features)
        X = X[:, self.features]
        logits = (X @ self.matrix[:, :n_used].T).T
        if self.fit_intercept:
            logits += self.matrix[:, n_used:]
        proba = softmax(with_reference(logits), axis=0)
        variance = spread(proba)[-len(self.matrix) :]
        proba = proba[-len(self.matrix) :]
        outputs = np.concatenate([np.full(len(places), k) for k, _, places in self.segments])
        places = np.concatenate([places for _, _, places in self.segments])
        is_feature = places < n_used
        # One column for each pair of a feature, with the row's probability of the class in it.
        entries = X[:, places[is_feature]].tocoo()
        row, pair = entries.coords
        output = outputs[is_feature][pair]
        shape = X.shape[0], int(is_feature.sum())
        root = np.sqrt(weight)
        product = sp.csr_array((entries.data * proba[output, row] * root[row], (row, pair)), shape)
        free = outputs[~is_feature]
        shared = proba[free] * root
        whole, *blocks = totals
        feature_pairs, free_pairs = np.flatnonzero(is_feature), np.flatnonzero(~is_feature)
        whole[np.ix_(feature_pairs, feature_pairs)] -= (product.T @ product).toarray()
        if len(free_pairs):
            across = product.T @ shared.T
            whole[np.ix_(feature_pairs, free_pairs)] -= across
            whole[np.ix_(free_pairs, feature_pairs)] -= across.T
            whole[np.ix_(free_pairs, free_pairs)] -= shared @ shared.T
        # Within a class the same, but of p (1 - p): by itself, or it would lose digits.
        spread_root = np.sqrt(variance[output, row] * weight[row])
        own = sp.csc_array((entries.data * spread_root, (row, pair)), shape)
        means = np.bincount(pair, entries.data * spread_root**2, shape[1])
        start = 0
        for (k, _, places_of_k), block in zip(self.segments, blocks, strict=True):
            n_own = int((places_of_k < n_used).sum())
            stop = start + n_own
            block[:n_own, :n_own] += (own[:, start:stop].T @ own[:, start:stop]).toarray()
            if n_own < len(places_of_k):
                block[n_own, :n_own] += means[start:stop]
                block[:n_own, n_own] += means[start:stop]
                block[n_own, n_own] += variance[k] @ weight
            start = stop

    def assembled(self, totals):
        """Return the whole Hessian from the totals."""
        whole, *blocks = totals
        whole = np.tril(whole, -1)
        whole += whole.T
        for (_, pairs, _), block in zip(self.segments, blocks, strict=True):
            whole[pairs, pairs] = block
        return whole
