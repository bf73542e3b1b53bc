r"""The minimum of a problem, found independently of the package, and certified where it can be.

The problem is posed for centred and equilibrated columns, in long doubles. A damped Newton method
takes its steps from a QR decomposition of the square root of the Hessian, which has the square
root of its condition number; directions without curvature are left out. An L1 penalty enters
as a log barrier, which is smooth: with :math:`t \ge |w|`,

.. math::
    \phi_\mu(w) = \min_t \; \lambda t - \mu \log(t^2 - w^2) .

A lower bound of the minimum comes from the dual problem. With probabilities p that have the
weighted class frequencies of the targets y (those of an optimal intercept), and the gradient
:math:`G = \sum_i s_i (p_i - y_i) x_i / S`,

.. math::
    f^* \ge \frac{1}{S} \sum_i s_i H(p_i)
        - \sum_{jk} \frac{(|G_{kj}| - \lambda_1)_+^2}{2 \lambda_2} ,

H the entropy; with an L1 penalty alone p is first moved towards y until no :math:`|G|` is larger
than :math:`\lambda_1`.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

# Directions whose curvature is less than this, relative to the largest, squared, are left out.
_RESOLUTION = 1e-13
# As far as that, in place of its square, A'A shows them.
_GRAM_RESOLUTION = 1e-10
_MAX_STEPS = 150
_MAX_HALVINGS = 40
# The barrier of an L1 penalty is lowered by this factor, each time it is solved for.
_BARRIER_FACTOR = 0.2
# A direction is rounding error if the rounding of X could have made so large a share of it.
_NOISE = 0.5


@dataclass
class Model:
    """Coefficients for centred, equilibrated columns, and intercepts: long doubles.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_columns)
    intercept : ndarray of shape (n_outputs,)
    """

    coef: np.ndarray
    intercept: np.ndarray


@dataclass
class Posed:
    """A problem, posed for rows of positive weight and for equilibrated columns.

    Attributes
    ----------
    table : ndarray of shape (n_rows, n_columns)
        The columns, centred if there is an intercept, and scaled.
    center, scale : ndarray of shape (n_columns,)
        The mean of each column of X, and what it is divided by; powers of two.
    noise : ndarray of shape (n_columns,)
        What rounding of X is in each column of ``table``.
    target : ndarray of shape (n_rows, n_classes)
        Probabilities, after label smoothing.
    share : ndarray of shape (n_rows,)
        The weights, with class weights, divided by their sum.
    l1, l2 : ndarray of shape (n_columns,)
        Weight of absolute values and of half squares of the coefficients for ``table``.
    """

    table: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    noise: np.ndarray
    target: np.ndarray
    share: np.ndarray
    l1: np.ndarray
    l2: np.ndarray
    fit_intercept: bool

    @property
    def n_classes(self):
        return self.target.shape[1]

    @property
    def n_outputs(self):
        return 1 if self.n_classes == 2 else self.n_classes

    def zero(self):
        """Return the model that says nothing."""
        coef = np.zeros((self.n_outputs, self.table.shape[1]), dtype=np.longdouble)
        return Model(coef, np.zeros(self.n_outputs, dtype=np.longdouble))

    def model(self, coef, intercept):
        """Return the model for coefficients of X as it is."""
        coef = np.asarray(coef).astype(np.longdouble)
        intercept = np.asarray(intercept).astype(np.longdouble)
        return Model(coef * self.scale, intercept + coef @ self.center)

    def published(self, model):
        """Return coefficients and intercepts for X as it is."""
        coef = model.coef / self.scale
        return coef, model.intercept - coef @ self.center

    def logits(self, model):
        """Return the logits of all classes, (n_rows, n_classes)."""
        logits = self.table @ model.coef.T + model.intercept
        if self.n_outputs == 1:
            logits = np.column_stack([np.zeros_like(logits), logits])
        return logits

    def losses(self, logits):
        """Return the cross-entropy of each row: exact, also where it is close to 0."""
        rows, best = np.arange(len(logits)), logits.argmax(axis=1)
        below = logits - logits[rows, best][:, None]
        others = np.exp(below)
        others[rows, best] = 0.0
        return np.log1p(others.sum(axis=1)) - (self.target * below).sum(axis=1)

    def objective(self, model):
        """Return the mean cross-entropy and the penalty, for each unit of weight."""
        size = np.abs(model.coef)
        penalty = (self.l1 * size).sum() + 0.5 * (self.l2 * size**2).sum()
        return self.share @ self.losses(self.logits(model)) + penalty

    def entropy(self):
        """Return the mean entropy of the targets, which no model falls below."""
        return self.share @ _entropy(self.target)

    def lower_bound(self, model):
        """Return a lower bound of the minimum, by duality, from the probabilities of a model."""
        model = self.with_optimal_intercept(model)
        proba = _softmax(self.logits(model))
        residual = self.share[:, None] * (proba - self.target)
        excess = np.abs(residual.sum(axis=0)).sum() if self.fit_intercept else 0.0
        gradient = np.abs(residual[:, -self.n_outputs :].T @ self.table)
        is_bounded = self.l2 > 0
        if not (is_bounded | (self.l1 > 0)).all():
            return self.entropy()
        shrink = np.longdouble(1.0)
        if not is_bounded.all():
            shrink = np.min(self.l1 / np.maximum(gradient, self.l1), initial=1.0)
        proba = self.target + shrink * (proba - self.target)
        over = np.maximum(shrink * gradient - self.l1, 0.0)
        penalty = np.divide(over**2, 2 * self.l2, out=np.zeros_like(over), where=is_bounded)
        slack = excess * (10 + np.abs(model.intercept).max(initial=0.0))
        return max(self.share @ _entropy(proba) - penalty.sum() - slack, self.entropy())

    def without_features(self):
        """Return the best model without features."""
        return self.with_optimal_intercept(self.zero())

    def with_optimal_intercept(self, model):
        """Return a model with the intercept that is best for its coefficients, if there is one."""
        if not self.fit_intercept:
            return model
        no_columns = replace(
            self, table=self.table[:, :0], l1=self.l1[:0], l2=self.l2[:0], scale=self.scale[:0]
        )
        offsets = self.table @ model.coef.T
        intercept = np.array(model.intercept)
        for _ in range(30):
            logits = offsets + intercept
            if self.n_outputs == 1:
                logits = np.column_stack([np.zeros_like(logits), logits])
            proba = _softmax(logits)
            gradient = (self.share[:, None] * (proba - self.target)).sum(axis=0)[-self.n_outputs :]
            root = no_columns.root_hessian(proba)
            if self.n_outputs > 1:
                root = np.vstack([root, _gauge(root, self.n_outputs)])
            step = _newton_direction(root, gradient.astype(float))
            if not np.isfinite(step).all() or np.abs(step).max() < 1e-18:
                break
            intercept = intercept - np.clip(step, -2.0, 2.0)
        return Model(model.coef, intercept)

    def root_hessian(self, proba):
        """Return A with A'A the Hessian of the loss, for coefficients and intercept of each output.

        The Hessian of a row by its logits is diag(p) - pp' = LL', L = diag(sqrt p) - sqrt(p) p'.
        """
        columns = self.table.astype(float)
        if self.fit_intercept:
            columns = np.column_stack([columns, np.ones(len(columns))])
        proba = proba.astype(float)
        root_share = np.sqrt(self.share.astype(float))
        if self.n_outputs == 1:
            return (root_share * np.sqrt(proba[:, 0] * proba[:, 1]))[:, None] * columns
        factors = -proba[:, None, :] * np.ones((1, self.n_classes, 1))
        k = np.arange(self.n_classes)
        factors[:, k, k] = _of_the_others(proba)
        factors *= (root_share[:, None] * np.sqrt(proba))[:, :, None]
        root = factors[:, :, :, None] * columns[:, None, None, :]
        return root.reshape(len(columns) * self.n_classes, -1)

    def flattened(self):
        """Return the problem without what rounding of X made; None where that is nothing.

        Its table differs from that of X by less than X's own rounding: whoever fits one has
        fitted the other.
        """
        if not self.table.shape[1]:
            return None
        table = self.table / self.noise  # of which rounding is 1 in every direction
        weighted = np.sqrt(self.share)[:, None] * table
        _, singular, right = np.linalg.svd(weighted.astype(float), full_matrices=True)
        size = np.zeros(len(right))
        size[: len(singular)] = singular
        directions = right[_NOISE * size <= 1.0]
        if not len(directions):
            return None
        return replace(self, table=self.table - (table @ directions.T) @ directions * self.noise)

    def rounding(self, model, epsilon):
        """Return what the loss may rise by where a model's numbers are rounded to a precision.

        The bound is of second order, as it is at the minimum: half of the mean square error of
        the logits, each number rounded by half of ``epsilon`` in the worst direction.
        """
        coef, intercept = self.published(model)
        X = self.table * self.scale + self.center
        error = 0.5 * epsilon * (np.abs(X) @ np.abs(coef).T + np.abs(intercept)).max(axis=1)
        return 0.5 * self.share @ np.minimum(error, 1e100) ** 2


def posed(problem):
    """Return a :class:`Problem`, posed."""
    params = problem.params
    target, class_weight = _target(problem)
    smoothing = params.get("label_smoothing", 0.0)
    target = (1 - smoothing) * target + smoothing / target.shape[1]
    weight = np.ones(len(target)) if problem.sample_weight is None else problem.sample_weight
    weight = weight.astype(np.longdouble) * class_weight
    is_used = weight > 0
    X = problem.X.toarray() if sp.issparse(problem.X) else problem.X
    epsilon = rounding_unit(problem.X)
    X, target, weight = X[is_used].astype(np.longdouble), target[is_used], weight[is_used]
    total = weight.sum()
    share = weight / total
    fit_intercept = params.get("fit_intercept", True)
    center = share @ X if fit_intercept else np.zeros(X.shape[1], dtype=np.longdouble)
    is_constant = np.ptp(X, axis=0) == 0
    center = np.where(is_constant & fit_intercept, X[0], center)
    centred = X - center
    spread = np.sqrt(share @ centred**2)
    scale = np.exp2(np.round(np.log2(np.where(spread > 0, spread, 1.0))))
    noise = epsilon * np.maximum(np.sqrt(share @ X**2) / scale, 1.0)
    strength = 1.0 / (params["C"] * total)
    l1_ratio = params.get("l1_ratio", 0.0)
    return Posed(
        table=centred / scale,
        center=center,
        scale=scale,
        noise=noise,
        target=target,
        share=share,
        l1=l1_ratio * strength / scale,
        l2=(1 - l1_ratio) * strength / scale**2,
        fit_intercept=fit_intercept,
    )


def rounding_unit(X):
    """Return the rounding unit of the dtype that X is computed in."""
    return float(np.finfo(X.dtype if X.dtype.kind == "f" else np.float64).eps)


def minimise(posed, model, enough):
    """Return a model close to the minimum, and a lower bound of the minimum.

    Parameters
    ----------
    posed : Posed
    model : Model
        Where to start.
    enough : callable
        ``enough(loss)`` is how close, absolutely, is close enough.
    """
    barrier = None
    if (posed.l1 > 0).any():
        n_parameters = posed.n_outputs * posed.table.shape[1]
        barrier = 0.1 * posed.objective(model) / n_parameters
    best, best_loss, lower = model, posed.objective(model), posed.entropy()
    if posed.n_outputs > 1:
        intercept = model.intercept - model.intercept.mean()
        coef = model.coef if barrier else model.coef - model.coef.mean(axis=0)
        model = Model(coef, intercept)
    for _ in range(_MAX_STEPS):
        moved, decrement = _newton_step(posed, model, barrier)
        is_solved = moved is None or decrement <= 0.01 * enough(best_loss)
        if barrier is not None:
            is_solved = is_solved or decrement <= barrier
        model = model if moved is None else moved
        loss = posed.objective(model)
        if loss < best_loss:
            best, best_loss = model, loss
        if is_solved or best_loss - lower <= 0.1 * enough(best_loss):
            lower = max(lower, posed.lower_bound(model))
            if best_loss - lower <= 0.1 * enough(best_loss):
                break
            if barrier is None and (moved is None or decrement <= 1e-5 * enough(best_loss)):
                break
            if barrier is not None:
                if barrier * posed.l1.size * posed.n_outputs <= 1e-5 * enough(best_loss):
                    break
                barrier *= _BARRIER_FACTOR
    return best, best_loss, lower


def _newton_step(posed, model, barrier):
    """Return the model after a damped Newton step, and what the step was expected to gain.

    None for the model where no step gains anything.
    """
    loss = _smooth_objective(posed, model, barrier)
    proba = _softmax(posed.logits(model))
    residual = (posed.share[:, None] * (proba - posed.target))[:, -posed.n_outputs :]
    penalty_gradient, penalty_curvature = _penalty_derivatives(posed, model.coef, barrier)
    gradient = residual.T @ posed.table + penalty_gradient
    if posed.fit_intercept:
        gradient = np.column_stack([gradient, residual.sum(axis=0)])
        penalty_curvature = np.column_stack([penalty_curvature, np.zeros(posed.n_outputs)])
    root = np.vstack([posed.root_hessian(proba), np.diag(np.sqrt(penalty_curvature.ravel()))])
    if posed.n_outputs > 1 and barrier is None:
        root = np.vstack([root, _gauge(root, posed.n_outputs)])
    n_columns = posed.table.shape[1]
    for damping in (0.0, 1e-6, 1e-2):
        step = _newton_direction(root, gradient.ravel(), damping).reshape(gradient.shape)
        slope = float((gradient * step).sum())
        if not (np.isfinite(slope) and slope > 0):
            continue
        length = 1.0
        for _ in range(_MAX_HALVINGS):
            intercept = length * step[:, n_columns:].sum(axis=1)
            moved = Model(model.coef - length * step[:, :n_columns], model.intercept - intercept)
            if _smooth_objective(posed, moved, barrier) <= loss - 1e-4 * length * slope:
                return moved, 0.5 * slope
            length *= 0.5
    return None, 0.0


def _newton_direction(root, gradient, damping=0.0):
    """Return inv(A'A) times a gradient, for A of rank as far as float64 shows."""
    size = np.sqrt(np.einsum("ij,ij->j", root, root))
    size = np.where(size > 0, size, 1.0)
    root = root / size
    curvature, vectors = np.linalg.eigh(root.T @ root)
    resolution = _GRAM_RESOLUTION
    if curvature[0] <= resolution * curvature[-1]:
        # A'A hides in rounding what A itself shows.
        _, singular, right = np.linalg.svd(np.linalg.qr(root, mode="r"), full_matrices=False)
        curvature, vectors, resolution = singular**2, right.T, _RESOLUTION**2
    is_kept = curvature > resolution * max(curvature.max(initial=0.0), 1e-300)
    inverse = np.where(is_kept, 1.0 / np.where(is_kept, curvature + damping, 1.0), 0.0)
    scaled = (gradient / size).astype(float)
    return (vectors @ (inverse * (vectors.T @ scaled))) / size


def _gauge(root, n_outputs):
    """Return rows that give A'A curvature where a constant over the classes changes nothing.

    Models are centred over the classes where that is so; there steps have no part of it anyway.
    """
    size = np.sqrt(np.einsum("ij,ij->j", root, root).reshape(n_outputs, -1).mean(axis=0))
    return np.tile(np.diag(np.where(size > 0, size, 1.0)), n_outputs)


def _smooth_objective(posed, model, barrier):
    if barrier is None:
        return posed.objective(model)
    l1, size = posed.l1, np.abs(model.coef)
    top = barrier / l1 + np.hypot(barrier / l1, size)
    excess = l1 * (top - size) - barrier * np.log(2 * barrier * top / l1)
    return posed.objective(model) + excess.sum()


def _penalty_derivatives(posed, coef, barrier):
    gradient = posed.l2 * coef
    curvature = np.broadcast_to(posed.l2, coef.shape).copy()
    if barrier is not None:
        center = barrier / posed.l1
        hypotenuse = np.hypot(center, coef)
        top = center + hypotenuse
        gradient = gradient + posed.l1 * coef / top
        curvature = curvature + posed.l1 * center / hypotenuse / top
    return gradient, np.minimum(curvature, 1e300).astype(float)


def _target(problem):
    """Return the targets as probabilities, and what each row weighs by class.

    A distribution stands for a row of each class, weighted by its probability: with class weights
    the classes that weigh more have more of it.
    """
    y = np.asarray(problem.y)
    if y.ndim == 1:
        classes, codes = np.unique(y, return_inverse=True)
        target = np.eye(len(classes))[codes]
    else:
        classes, target = np.arange(y.shape[1]), y.astype(float)
    class_weight = problem.params.get("class_weight")
    weights = np.ones(len(classes))
    if class_weight == "balanced":
        rows = 1.0 if problem.sample_weight is None else problem.sample_weight[:, None]
        mass = (rows * target).sum(axis=0)
        weights = mass.sum() / (np.count_nonzero(mass) * np.where(mass > 0, mass, np.inf))
    elif class_weight is not None:
        weights = np.array([class_weight.get(label, 1.0) for label in classes.tolist()])
    target = target.astype(np.longdouble) * weights
    weight = target.sum(axis=1)
    return target / np.where(weight > 0, weight, 1.0)[:, None], weight


def _softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _entropy(proba):
    is_positive = proba > 0
    return -(proba * np.log(proba, where=is_positive, out=np.zeros_like(proba))).sum(axis=1)


def _of_the_others(proba):
    """Return 1 - p, exact also where p is close to 1."""
    rows, best = np.arange(len(proba)), proba.argmax(axis=1)
    others = 1.0 - proba
    without = proba.copy()
    without[rows, best] = 0.0
    others[rows, best] = without.sum(axis=1)
    return others
