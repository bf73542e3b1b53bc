r"""Dual coordinate ascent: where L-BFGS starts from on sparse rows.

The minimum over W of the objective with a ridge penalty is a combination of the rows,
:math:`W = C \sum_i s_i a_i x_i^\top` with the weights :math:`s_i` and a dual vector :math:`a_i`
for each row, which there is its target less its probabilities. Dual coordinate ascent [1]_ [2]_
takes one row at a time, solves for its vector with all others held, and changes W at once; every
such step raises the dual objective, and needs no step length. A sweep over all rows costs as much
as one evaluation of loss and gradient. Rows of text have few features in common, so what one of
them changes is nearly nothing to the others: then a few sweeps end closer to the minimum than
tens of iterations of L-BFGS, which take all rows at the same W.

The intercept has no penalty, and so no such form. It is taken by the proximal point method: as if
it were penalised for its distance from where it was before the sweep, by so little that the data
have their way.

What each row misses of its solution when it is its turn adds up to the duality gap, which tells how
far the objective is above its minimum. L-BFGS takes over when that is as small as ``tol`` asks
for, or sweeps no longer make it much smaller; it ends the fit by its own criterion.

References
----------
.. [1] H.-F. Yu, F.-L. Huang, C.-J. Lin, "Dual coordinate descent methods for logistic regression
   and maximum entropy models", Machine Learning 85 (2011).
.. [2] S. Shalev-Shwartz, T. Zhang, "Stochastic dual coordinate ascent methods for regularized
   loss minimization", JMLR 14 (2013).
"""

from dataclasses import replace

import numpy as np

from .._objective.scaling import start_curvature
from .._rows.blocks import spare_bytes
from .lbfgs import Iterate

# The intercept's curvature of a row of mean weight, where 1 is that of the penalty.
_INTERCEPT_CURVATURE = 0.3
# Dual vectors may take so much memory (bytes; a tenth of X if larger).
_DUAL_BYTES = 64 << 20
# A row may be so much longer than others, squared: the curvature of its step is that of the square,
# and what a few very long rows undo of each other takes more sweeps than L-BFGS has iterations.
_LARGEST_SQUARE = 10.0
# Where the rows' mean curvature is less than so many times the penalty's, L-BFGS by itself needs
# fewer iterations than sweeps.
_LEAST_CURVATURE = 4.0
# Sweeps end when so many of them have not made the gap smaller than this share of what it was.
_PATIENCE, _LEAST_PROGRESS = 5, 0.8


def applies(objective):
    """Return whether an objective has the form, and its rows are such that sweeps pay."""
    blocks = objective.blocks
    if blocks.sparse_share is None or not blocks.has_labels or objective.l1 or not objective.l2:
        return False
    if not objective.scaling.is_trivial:
        return False
    if 8 * blocks.n_rows * objective.n_outputs > spare_bytes(blocks, _DUAL_BYTES):
        return False
    with np.errstate(over="ignore", invalid="ignore"):  # (others say what is wrong with X)
        squares = objective.rows.squared_norms()
    mean = squares.sum() / blocks.n_weighted
    curvature = mean * start_curvature(objective.n_classes)
    return bool(
        squares.max() <= _LARGEST_SQUARE * mean and curvature > _LEAST_CURVATURE * objective.l2
    )


def ascend(objective, vector, *, tol):
    """Take sweeps over the rows, from coefficients of zero.

    Parameters
    ----------
    objective : SoftmaxObjective
        One that :func:`applies` finds fit.
    vector : ndarray
        The start: zeros.
    tol : float
        As for :func:`sklearn_softmax._solvers.lbfgs.lbfgs`.

    Yields
    ------
    Iterate
        The start, and the state after each sweep but the last. ``loss`` is that of each row when
        it was its turn.

    Returns
    -------
    Iterate
        The last one.
    """
    from .._arrays.compiled_ascent import sweep_sparse

    blocks = objective.blocks
    X, total_weight = blocks.X, blocks.total_weight
    strength = 1.0 / (objective.l2 * total_weight)
    reach = 0.0
    if objective.fit_intercept:
        reach = _INTERCEPT_CURVATURE / (strength * blocks.mean_weight)
    weight = np.empty(0) if blocks.weight is None else blocks.weight
    duals = np.zeros((blocks.n_rows, objective.n_outputs))
    rng = np.random.default_rng(0)  # a fixed seed: the steps are a function of the data alone
    gaps = []
    start = vector
    state = Iterate(vector, np.inf, n_evaluations=0)
    while True:
        yield state
        vector = state.vector.copy()
        coef, intercept = (part.T for part in objective.split(objective.unpack(vector)))
        with np.errstate(over="ignore", invalid="ignore"):
            loss, gap = sweep_sparse(
                X.data,
                X.indices,
                X.indptr,
                blocks.order(rng),
                blocks.y,
                weight,
                objective.label_smoothing,
                strength,
                reach,
                coef,
                intercept,
                duals,
            )
        # The next sweep's penalty is for the distance from here.
        intercept += reach * strength * (duals.sum(axis=0) if not len(weight) else weight @ duals)
        penalty = 0.5 * objective.l2 * float(np.vdot(coef, coef))
        gaps.append(gap / total_weight)
        loss = loss / total_weight + penalty
        if not np.isfinite(loss):
            return state  # L-BFGS says what is wrong
        state = Iterate(vector, loss, len(gaps), n_evaluations=0, decrement=gaps[-1])
        is_slow = len(gaps) > _PATIENCE and gaps[-1] > _LEAST_PROGRESS * gaps[-1 - _PATIENCE]
        if gaps[-1] <= 0.5 * tol**2 * loss or is_slow:
            # (Where they have led up and not down, L-BFGS is better off with the start.)
            return state if loss < objective.uniform_loss else replace(state, vector=start)
