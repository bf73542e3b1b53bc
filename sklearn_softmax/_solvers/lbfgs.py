r"""L-BFGS from any initial inverse Hessian, and its orthant-wise form for L1 penalties.

One loop, written as a generator: it yields the state after every iteration, and whoever
drives it may look at it, report it, or stop. The docstring of :func:`lbfgs` says what the objective
and the curvature must offer.

Stopping. With H the current inverse Hessian and g the gradient, :math:`\tfrac12 g^\top H g` is
the decrease that the next step expects: an estimate of how far the loss is above its minimum,
whatever the scale of the features (the Newton decrement). The loop ends when
:math:`g^\top H g \le \mathrm{tol}^2 f`.

The estimate covers the next step only. It is raised if recent steps brought more than was expected
of them, or each about as much as the one before.

It is also only as good as H. An H that is wrong about some directions, and takes them for flat or
for far too steep, could end a fit anywhere. So the end is confirmed by something that does not rest
on H: a bound of the true decrement from below, a certificate, or steps that converge as Newton's do
near a minimum. If the bound denies it, or H is an exact Hessian that may have lost digits, H0 is
replaced: first by a model that keeps more digits, and finally by a bound of the curvature, whose
steps are short but lead down. If nothing confirms it, the estimate must be smaller before it
counts.

It also ends when the loss has not fallen by more than its rounding unit for ten steps, or when no
step lowers it. The status is then "precision", unless the estimate is no larger than rounding
errors. Where the loss has no minimum but tends to 0 (separable classes without a penalty), f would
follow it for ever; so f counts as at least a ten-thousandth of what it is without a model, where
all classes are equally probable.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.portable import all_finite
from .confirmation import NEGLIGIBLE, Confirmation, Experience
from .history import RESOLUTION, History
from .line_search import Orthantwise, Rough, Smooth

# After so many steps without a decrease that rounding would show, the loss is at its minimum.
_PATIENCE = 10
# After a step that lowers the loss by more than so many times ``tol``, relatively, two more follow
# at least: the next of Newton's steps gains about the square of that.
_FAR = 10.0
# Where the estimated error is no more than so many rounding units of the loss, there is no more
# to be had.
_ROUNDING = 4.0


@dataclass
class Iterate:
    """The state of the solver after an iteration.

    Attributes
    ----------
    vector : ndarray
        The parameters.
    loss : float
        The objective there, penalties included.
    n_iter : int
        Iterations so far.
    n_evaluations : int
        Evaluations of loss and gradient so far.
    decrement : float
        Estimate of how far ``loss`` is above its minimum.
    status : {"running", "converged", "precision"}
        "precision" where rounding errors forbid further progress.
    gradient : ndarray or None
        That of the smooth part of the objective, once the fit has ended.
    gap : float or None
        Bound of how far ``loss`` is above its minimum, where it has been asked for.
    """

    vector: np.ndarray
    loss: float
    n_iter: int = 0
    n_evaluations: int = 1
    decrement: float = np.inf
    status: str = "running"
    gradient: Any = None
    gap: float | None = None


def lbfgs(
    objective,
    curvature,
    vector,
    *,
    tol,
    l1_weights=None,
    n_iter=0,
    rough=None,
    certificate=None,
    certificate_order=2,
):
    r"""Minimise a convex objective, plus :math:`\sum_j \lambda_j |v_j|` if asked to.

    With an L1 penalty this is orthant-wise L-BFGS [3]_ on the parameters that are not at rest
    at zero: they form a smooth problem within the orthant that the pseudo-gradient points
    into, and the curvature is restricted to them (a two-metric projection [4]_). Trial points
    are projected onto the orthant, so parameters become exactly zero.

    Parameters
    ----------
    objective : object
        ``objective.loss_gradient(vector)`` returns a float and an ndarray;
        ``objective.epsilon`` is the rounding unit that they are computed with, and
        ``objective.uniform_loss`` what the loss is without a model;
        ``objective.largest_change(step)`` is how far a step moves the logits of a row, at most.
    curvature : object
        ``curvature.update(vector, n_evaluations, n_left)`` may renew H0 before a step, if
        ``curvature.is_due(n_evaluations)``, and returns whether it has, where ``n_left``
        evaluations seem to be left without it; ``curvature.is_cheap`` tells that it then has;
        ``curvature.replaces_steps`` tells that H0 has become so good that the steps before are
        better forgotten; ``curvature.step_memory`` is the number of steps to remember, and the
        dtype to round them to; ``curvature.solve(gradient, free)`` multiplies by H0, symmetric
        and positive definite, restricted to the parameters of the mask ``free`` (None: all).
        ``curvature.is_nearly_singular`` says that H0 may have lost digits, and
        ``curvature.can_have_root`` that there is another which keeps them;
        ``curvature.least_decrement(gradient)`` bounds :math:`g^\top H g` from below without a
        model; ``curvature.distrust(vector)`` puts another in place of H0, a bound of the
        curvature in the end (``curvature.is_bound``), and returns whether it has.
    vector : ndarray
        Where to start.
    tol : float
        When to stop: see the module's documentation.
    l1_weights : ndarray or None, default=None
        The :math:`\lambda`, in the shape of ``vector``.
    n_iter : int, default=0
        How many iterations went before.
    rough : object or None, default=None
        The same objective in lower precision, which is evaluated as long as it does.
    certificate : callable or None, default=None
        ``certificate(vector, loss=, gradient=)``, of the whole objective and the gradient of its
        smooth part, bounds how far the objective is above its minimum. With an L1 penalty, or a
        bound for H0, the loop ends when that is small, too.
    certificate_order : {1, 2}, default=2
        Whether it falls like the distance from the optimum, or like its square. It must be no
        more than ``tol`` to that power times the objective.

    Yields
    ------
    Iterate
        First for the start itself, then after each iteration. Only the last one's status is
        not "running".

    References
    ----------
    .. [1] J. Nocedal, S. Wright, "Numerical Optimization" (2006), algorithm 7.4.
    .. [2] W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent and an
       efficient line search", SIAM J. Optim. 16 (2005): approximate Wolfe conditions.
    .. [3] G. Andrew, J. Gao, "Scalable training of L1-regularized log-linear models",
       ICML (2007).
    .. [4] M. Schmidt, "Graphical model structure learning with L1-regularization", PhD thesis
       (2010), section 2.3.
    """
    exact = Smooth(objective) if l1_weights is None else Orthantwise(objective, l1_weights)
    problem: Any = exact if rough is None else Rough(rough)
    loss, gradient = problem.evaluate(vector)
    if not (np.isfinite(loss) and all_finite(gradient)):
        raise ValueError(
            "The loss or its gradient is not finite at the start of the fit: X, or the "
            "coefficients of a warm start, hold values too large for their dtype. Scale them."
        )
    state = Iterate(vector, loss, n_iter)
    enough, negligible = max(tol**2, RESOLUTION), NEGLIGIBLE * objective.uniform_loss
    history, n_stalled, is_new, is_far = History(*curvature.step_memory), 0, True, False
    experience, has_l1 = Experience(), l1_weights is not None
    confirm = Confirmation(objective, curvature, tol, certificate, certificate_order, has_l1=has_l1)
    curvature.update(vector, 0)
    while True:
        scale = max(abs(state.loss), negligible)
        threshold = enough * scale
        history, steepest, step = _next_step(
            problem, state, gradient, history, curvature, threshold, is_far, experience
        )
        slope = float(steepest @ step)
        if problem is not exact and (
            n_stalled >= _PATIENCE or problem.is_spent(state, -slope, tol)
        ):
            problem, n_stalled = exact, 0
            state.loss, gradient = problem.evaluate(state.vector)
            state.n_evaluations += 1
            continue
        state.decrement = -0.5 * slope
        found, expected = None, -slope * experience.outlook(state.decrement)
        if expected > threshold and n_stalled < _PATIENCE:
            if is_new:
                yield state
            is_new = False
            found = problem.search(state, steepest, step, slope)
            state.n_evaluations += found.n_trials
            if found.vector is None and problem is not exact:  # once more, exactly
                n_stalled = _PATIENCE
                continue
        if found is None or found.vector is None:
            is_certain, is_open = False, False
            if slope <= 0:
                is_certain, is_open = confirm(
                    state,
                    gradient,
                    steepest,
                    expected,
                    scale,
                    enough,
                    step if experience.is_settled(state.decrement) else None,
                )
            if is_open and found is None:
                enough, n_stalled = max(0.1 * enough, RESOLUTION), 0
                continue
            # An H0 that is wrong ends a fit too early, or leads nowhere.
            if not (is_certain and found is None) and curvature.distrust(state.vector):
                history, n_stalled = History(*curvature.step_memory), 0
                continue
            rounding = _ROUNDING * objective.epsilon * scale
            is_converged = is_certain and expected <= max(threshold, rounding)
            state.status = "converged" if is_converged else "precision"
            state.gradient = gradient
            yield state
            return
        decrease = state.loss - found.loss
        is_visible = decrease > _ROUNDING * problem.epsilon * abs(state.loss)
        experience.add(decrease if is_visible else 0.0, state.decrement)
        n_stalled = 0 if decrease > problem.epsilon * abs(state.loss) else n_stalled + 1
        is_far = decrease > _FAR * np.sqrt(enough) * abs(found.loss)
        n_evaluations = state.n_evaluations
        is_replaced = curvature.replaces_steps and curvature.is_cheap
        if is_replaced and curvature.is_due(n_evaluations - 1):
            history = History(*curvature.step_memory)
        else:
            history.append(state.vector, found.vector, gradient, found.gradient)
        gradient, is_new = found.gradient, True
        state = Iterate(found.vector, found.loss, state.n_iter + 1, n_evaluations)


def _next_step(problem, state, gradient, history, curvature, threshold, is_far, experience):
    """Return the history to go on with, the direction of steepest descent, and the step to take.

    H0 is renewed first if that is due, unless the step is the last one: at the end it would come
    too late to be of use.
    """
    n_evaluations, is_renewed = state.n_evaluations - 1, False
    if is_far and curvature.replaces_steps:
        is_renewed = curvature.update(state.vector, n_evaluations)
    if not is_renewed:
        steepest, step = problem.direction(state.vector, gradient, history, curvature)
        slope = float(steepest @ step)
        n_left = experience.steps_left(-0.5 * slope, 0.5 * threshold)
        is_renewed = -slope > threshold and curvature.update(state.vector, n_evaluations, n_left)
        # (Among differences of gradients that are all rounding, H may lose its sign.)
        if not is_renewed and slope <= 0:
            return history, steepest, step
    if curvature.replaces_steps or not is_renewed:
        history = History(*curvature.step_memory)
    return history, *problem.direction(state.vector, gradient, history, curvature)
