"""Hard problems, drawn at random: a seed says all of one."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

from .columns import INTEGER_KINDS, KINDS, SPARSE_KINDS, Draw

FILL_VALUES = (1e20, 9.97e36)  # (9.97e36 is netCDF's)
# The largest product of rows, classes and squared parameters that the reference is given.
_REFERENCE_WORK = 5e8


@dataclass
class Problem:
    """What to fit, and how.

    Attributes
    ----------
    X, y, sample_weight
        As ``fit`` takes them.
    params : dict
        The estimator's parameters.
    start : tuple of ndarray or None
        Coefficients and intercepts to set before a warm start.
    tags : frozenset of str
        The kinds of columns, rows, targets and parameters in it, for a summary.
    is_plain : bool
        Whether there is nothing hard about it.
    """

    seed: int
    X: Any
    y: Any
    sample_weight: Any
    params: dict
    start: Any = None
    tags: frozenset = field(default_factory=frozenset)
    is_plain: bool = False

    @property
    def description(self):
        """A line that says what is in it."""
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{self.X.shape[0]} x {self.X.shape[1]}, {params}; {', '.join(sorted(self.tags))}"


def problem(seed, solver="lbfgs"):
    """Return the problem of a seed."""
    rng = np.random.default_rng([seed, {"lbfgs": 0, "sgd": 1}[solver]])
    tags = set()
    is_plain = rng.random() < (0.3 if solver == "sgd" else 0.1)
    tags.add("plain" if is_plain else "hard")
    n_classes = int(rng.choice([2, 2, 3, 4, 5])) if rng.random() < 0.95 else 21
    container = "C" if is_plain else _container(rng)
    n_rows = _n_rows(rng, is_plain, solver, n_classes)
    labels, strength = _labels(rng, n_rows, n_classes, is_plain, tags)
    X, kinds = _features(rng, labels, strength, container, is_plain)
    tags.update(kinds)
    if not is_plain:
        X, labels = _arranged(rng, X, labels, tags)
    X, labels, weight = _weighted(rng, X, labels, is_plain, container, tags)
    X = _contained(X, container)
    tags.add(f"X:{container}")
    y = _target(rng, labels, n_classes, is_plain, tags)
    params = {"solver": solver, **_parameters(rng, y, is_plain, solver, tags)}
    start = None
    if solver == "lbfgs" and rng.random() < 0.06:
        params["warm_start"] = True
        start = _far_start(rng, X, y)
        tags.add("warm start")
    if solver == "sgd":
        params["random_state"] = int(rng.integers(1000))
    return Problem(seed, X, y, weight, params, start, frozenset(tags), is_plain)


def _container(rng):
    names = ["C", "F", "float32", "integer", "csr", "csr float32", "csc"]
    return str(rng.choice(names, p=[0.33, 0.1, 0.17, 0.08, 0.18, 0.07, 0.07]))


def _n_rows(rng, is_plain, solver, n_classes):
    if is_plain:
        sizes = [65, 97, 257, *rng.integers(100, 800, 3)]
        return int(rng.choice(sizes))
    if solver == "sgd" and rng.random() < 0.3:  # a last batch of one row, or of few
        return int(rng.choice([65, 66, 97, 129, 257, 513, 1025, 1030]))
    kind = rng.random()
    if kind < 0.15:
        return int(rng.integers(max(2, n_classes), max(11, n_classes + 3)))
    if kind < 0.9 or n_classes > 5:
        return int(rng.integers(max(11, n_classes), 400))
    return int(rng.integers(2000, 4000))


def _labels(rng, n_rows, n_classes, is_plain, tags):
    """Return labels from 0, of which each class has one at least, and how far classes differ."""
    strength = float(rng.choice([0.3, 1.0] if is_plain else [0.0, 0.3, 1.0, 3.0, 30.0]))
    if is_plain or rng.random() < 0.7:
        share = np.full(n_classes, 1 / n_classes)
    else:
        share = rng.dirichlet(np.full(n_classes, 0.5))
        tags.add("uneven classes")
    labels = rng.choice(n_classes, n_rows, p=share)
    if not is_plain and rng.random() < 0.1:
        labels[labels == n_classes - 1] = 0  # (one row of it is left below)
        tags.add("class of one row")
    labels[rng.permutation(n_rows)[:n_classes]] = np.arange(n_classes)
    tags.add({0.0: "no signal", 30.0: "separable"}.get(strength, "some signal"))
    return labels, strength


def _features(rng, labels, strength, container, is_plain):
    """Return X as float64, and the kinds of its columns."""
    n_rows, n_classes = len(labels), int(labels.max()) + 1
    n_columns = int(rng.integers(1, 13))
    if not is_plain and n_rows >= 2000:
        n_columns = int(rng.integers(5, 70))
    elif not is_plain and rng.random() < 0.12:  # as many as rows, or more
        n_columns = min(n_rows + int(rng.choice([0, 1, 10])), 60)
    while n_columns > 1 and n_rows * n_classes * (n_columns * n_classes) ** 2 > _REFERENCE_WORK:
        n_columns //= 2
    draw = Draw(rng, labels, strength)
    names = _kinds(rng, container, is_plain)
    kinds = set()
    while len(draw.columns) < n_columns:
        kind = str(rng.choice(names))
        draw.add(kind)
        kinds.add(kind)
    X = np.column_stack(draw.columns)
    return X[:, rng.permutation(X.shape[1])], kinds


def _kinds(rng, container, is_plain):
    """Return the names to draw from: ordinary ones, and some hard ones."""
    if is_plain:
        return ["ordinary"]
    if container == "integer":
        return list(INTEGER_KINDS)
    some = list(rng.choice(list(KINDS), int(rng.integers(1, 5)), replace=False))
    if container.startswith("cs"):
        some += list(rng.choice(SPARSE_KINDS, 2))
    return some + ["ordinary"] * int(rng.integers(0, 4))


def _arranged(rng, X, labels, tags):
    """Return rows repeated, or sorted by class, if they are to be."""
    order = np.arange(len(labels))
    if rng.random() < 0.15:
        order = rng.choice(order, len(order))
        order[: labels.max() + 1] = np.unique(labels, return_index=True)[1]
        tags.add("repeated rows")
    if rng.random() < 0.15:
        order = order[np.argsort(labels[order], kind="stable")]
        tags.add("sorted by class")
    return X[order], labels[order]


def _weighted(rng, X, labels, is_plain, container, tags):
    """Return X and labels, with rows of weight 0 added where there are some, and weights."""
    n_rows = len(labels)
    kind = (
        "none"
        if is_plain
        else str(
            rng.choice(
                ["none", "uniform", "counts", "wild", "zero", "fill"],
                p=[0.55, 0.1, 0.05, 0.1, 0.1, 0.1],
            )
        )
    )
    if kind == "none":
        return X, labels, None
    tags.add(f"weights:{kind}")
    if kind == "uniform":
        return X, labels, rng.uniform(0.1, 3.0, n_rows)
    if kind == "counts":
        return X, labels, rng.integers(1, 5, n_rows).astype(float)
    if kind == "wild":
        return X, labels, 10.0 ** rng.uniform(-12, 0, n_rows) * 10.0 ** rng.integers(-3, 4)
    n_left_out = int(rng.integers(1, n_rows + 1))
    left_out = X[rng.integers(n_rows, size=n_left_out)].copy()
    if kind == "fill" and container != "integer":
        left_out[rng.random(left_out.shape) < 0.7] = rng.choice(FILL_VALUES)
    order = rng.permutation(n_rows + n_left_out)
    X = np.concatenate([X, left_out])[order]
    labels = np.concatenate([labels, rng.integers(labels.max() + 1, size=n_left_out)])[order]
    weight = np.concatenate([rng.uniform(0.5, 2.0, n_rows), np.zeros(n_left_out)])[order]
    return X, labels, weight


def _contained(X, container):
    if container == "F":
        return np.asfortranarray(X)
    if container == "float32":
        return X.astype(np.float32)
    if container == "integer":
        return np.round(X).astype(np.int64)
    if container == "csr":
        return sp.csr_array(X)
    if container == "csr float32":
        return sp.csr_matrix(X.astype(np.float32))
    if container == "csc":
        return sp.csc_array(X)
    return np.ascontiguousarray(X)


def _target(rng, labels, n_classes, is_plain, tags):
    kind = rng.random()
    if is_plain or kind < 0.7:
        return labels
    if kind < 0.8:
        tags.add("y:strings")
        return np.array([f"class {k:02d}" for k in range(n_classes)])[labels]
    one_hot = np.eye(n_classes)[labels]
    kind = str(rng.choice(["soft", "one-hot", "nearly one-hot"]))
    tags.add(f"y:{kind}")
    if kind == "one-hot":
        return one_hot
    share = 0.6 if kind == "soft" else 10.0 ** rng.uniform(-9, -2)
    soft = (1 - share) * one_hot + share * rng.dirichlet(np.ones(n_classes), len(labels))
    return soft / soft.sum(axis=1, keepdims=True)


def _parameters(rng, y, is_plain, solver, tags):
    params = {"C": float(rng.choice([0.1, 1.0, 10.0]))}
    if not is_plain:
        params["C"] = float(
            rng.choice([1e-3, 1e-2, 0.1, 1.0, 1.0, 1.0, 10.0, 1e2, 1e3, 1e6, np.inf])
        )
        params["fit_intercept"] = bool(rng.random() < 0.8)
    tags.add(f"C={params['C']:g}")
    if not params.get("fit_intercept", True):
        tags.add("no intercept")
    if not is_plain and rng.random() < 0.2:
        params["l1_ratio"] = float(rng.choice([1.0, 0.5, 0.1]))
        tags.add("L1" if params["l1_ratio"] == 1.0 else "elastic net")
    if not is_plain and rng.random() < 0.1:
        params["label_smoothing"] = float(rng.choice([0.01, 0.1, 0.5]))
        tags.add("label smoothing")
    if not is_plain and rng.random() < 0.1:
        params["class_weight"] = _class_weight(rng, y)
        tags.add("class weight")
    if solver == "lbfgs" and not is_plain and rng.random() < 0.2:
        params["tol"] = float(rng.choice([1e-2, 1e-6]))
        tags.add(f"tol={params['tol']:g}")
    return params


def _class_weight(rng, y):
    if rng.random() < 0.5:
        return "balanced"
    classes = range(y.shape[1]) if y.ndim == 2 else np.unique(y).tolist()
    return {label: float(10.0 ** rng.uniform(-3, 3)) for label in classes}


def _far_start(rng, X, y):
    n_classes = y.shape[1] if y.ndim == 2 else len(np.unique(y))
    n_outputs = 1 if n_classes == 2 else n_classes
    size = np.abs(X).max(axis=0)
    size = np.asarray(size.todense() if sp.issparse(size) else size, dtype=float).ravel()
    coef = 10.0 ** rng.uniform(0, 3) * rng.standard_normal((n_outputs, X.shape[1]))
    return coef / np.maximum(size, 1e-3), 10.0 * rng.standard_normal(n_outputs)
