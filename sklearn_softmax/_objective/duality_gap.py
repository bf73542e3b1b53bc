r"""How far a model is from the optimum, at most: the duality gap.

For probabilities q of the classes for each row, with the same mean in each class as the targets y
have, the minimum of the penalised cross-entropy is at least

.. math::
    D(q) = \frac{1}{S} \sum_i s_i \, H(q_i) - \sum_{kj} P^*(g_{kj}) , \qquad
    g = \frac{1}{S} \sum_i s_i \, (y_i - q_i) \, x_i^\top ,

with the entropy H and the conjugate of the penalty,
:math:`P^*(g) = \max(|g| - \lambda_1, 0)^2 / (2 \lambda_2)`; for an L1 penalty alone it is 0 where
:math:`|g| \le \lambda_1`, and infinite elsewhere. That is Fenchel duality:
:math:`\log \sum_k e^{o_k} \ge H(q) + q^\top o`, and equal for the probabilities q that belong to o.
So the objective less D(q), for the model's own probabilities, bounds how far it is above its
minimum, whatever the solver did and whatever it believes of the curvature.

The means must be those of the targets where there is an intercept, which has no penalty. At the
optimum they are. Near the optimum they are mended: the surplus of a class is taken from its rows in
proportion, and given to the classes that have too little. For an L1 penalty q moves towards y until
g is small enough.

References
----------
.. [1] E. Ndiaye, O. Fercoq, A. Gramfort, J. Salmon, "Gap Safe screening rules for sparsity
   enforcing penalties", JMLR 18 (2017).
"""

import numpy as np

from .._arrays import portable
from .._rows.sums import MassRepair

# With an L1 penalty q moves by this much more than the last gradient asks for.
_MARGIN = 1e-9
_MAX_MOVES = 3


def duality_gap(objective, vector, *, loss=None, gradient=None):
    """Return an upper bound of how far the objective at ``vector`` is above its minimum.

    It takes one pass over the rows, or two with an L1 penalty alone.

    Parameters
    ----------
    objective : SoftmaxObjective
    vector : ndarray
        Parameters in the scaled space.
    loss, gradient : float and ndarray, or None
        The whole objective, and the gradient of its smooth part, where they are known.

    Returns
    -------
    float
        In nats per unit of weight, as the objective; true up to the rounding errors of the
        objective itself. Infinite without a penalty, where there is no such bound.
    """
    if not (objective.l1 or objective.l2):
        return np.inf
    if gradient is None:
        loss, gradient = objective.value_gradient(vector)
    repair = None
    if objective.fit_intercept:
        excess = portable.to_numpy(objective.unpack(gradient)[:, -1])
        repair = MassRepair.of(objective.target_mean, excess)
    share = 1.0
    for _ in range(_MAX_MOVES):
        entropy, slope = objective.dual_terms(vector, repair, share)
        slope = portable.namespace(slope).abs(slope)
        if objective.l2:
            beyond = portable.at_least(slope - objective.l1, 0.0)
            conjugate = float(portable.namespace(beyond).sum(beyond * beyond)) / (2 * objective.l2)
            return max(loss - entropy + conjugate, 0.0)
        largest = float(portable.namespace(slope).max(slope))
        if largest <= objective.l1:
            return max(loss - entropy, 0.0)
        share *= (1.0 - _MARGIN) * objective.l1 / largest
    return np.inf
