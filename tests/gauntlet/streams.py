"""Streams of chunks for ``partial_fit``, cut at random, and the rule that they are judged by.

After each chunk the loss of held-out rows like those of the chunk must not be above what it was
before it by more than noise, or a ``ConvergenceWarning`` says so. Noise is a share of the loss of
equally probable classes, larger for the first few rows, and four standard errors of the mean
difference. Where all rows of a stream are alike, the loss at the end must also be no more than
noise above the lowest on the way, above that without a model, and above that of the same rows in
one chunk.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

from sklearn_softmax import SoftmaxRegressionClassifier

from .columns import Draw
from .judge import Fit, Verdict, is_clear, watched

# Noise, relative to the loss of equally probable classes: of a chunk, and of a whole stream.
CHUNK_NOISE, STREAM_NOISE = 0.05, 0.1
# What N rows say of the classes' frequencies is unsure by this, divided by N. (The estimator of
# Krichevsky and Trofimov loses 0.13 by the first row where classes are equally probable.)
_START_NOISE = 0.2
_STANDARD_ERRORS = 4.0
_N_HELD_OUT = 1500
_MOST_CHUNKS = 60
_KINDS = [
    "ordinary",
    "tiny",
    "huge",
    "constant",
    "exactly_collinear",
    "nearly_collinear",
    "offset",
    "timestamp",
    "zero_inflated",
    "one_hot",
    "binary",
    "count",
]


@dataclass
class Chunk:
    """Rows for one call of ``partial_fit``; ``kinds`` are what each of them is like."""

    X: Any
    y: np.ndarray
    sample_weight: np.ndarray | None
    kinds: np.ndarray


@dataclass
class Stream:
    """Chunks, and held-out rows like those of each kind.

    Attributes
    ----------
    chunks : list of Chunk
    held_out : list of tuple
        For each kind of rows ``(X, y)``, as they are distributed in the stream.
    params : dict
        The estimator's parameters.
    before : tuple or None
        ``(X, y, solver)`` of a fit that goes before.
    tags, is_plain
        As of a :class:`Problem`.
    """

    seed: int
    chunks: list
    held_out: list
    n_classes: int
    params: dict
    before: Any = None
    tags: frozenset = field(default_factory=frozenset)
    is_plain: bool = False

    @property
    def description(self):
        sizes = [len(chunk.y) for chunk in self.chunks]
        shown = f"{sizes[:12]}..." if len(sizes) > 12 else f"{sizes}"
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        n_features = self.held_out[0][0].shape[1]
        return f"{n_features} features, chunks {shown}, {params}; {', '.join(sorted(self.tags))}"


def stream(seed):
    """Return the stream of a seed."""
    rng = np.random.default_rng([seed, 2])
    is_plain = rng.random() < 0.4
    tags = {"plain" if is_plain else "hard"}
    n_classes = int(rng.choice([2, 3, 4]))
    sizes, way = _sizes(rng)
    tags.add(f"cut:{way}")
    n_rows = sum(sizes)
    n_before = int(rng.choice([1000, 3000])) if rng.random() < 0.25 else 0
    n_all = n_before + n_rows + _N_HELD_OUT
    labels = rng.choice(n_classes, n_all)
    draw = Draw(rng, labels, float(rng.choice([0.3, 1.0, 3.0])))
    kinds = ["ordinary"] if is_plain else ["ordinary", *rng.choice(_KINDS, 3)]
    tags.update(kinds)
    for kind in [*kinds, *rng.choice(kinds, int(rng.integers(1, 12)))]:
        draw.add(kind)
    X = np.column_stack(draw.columns)
    before = None
    if n_before:
        before = X[:n_before], labels[:n_before], str(rng.choice(["lbfgs", "sgd"]))
        tags.add(f"after a fit:{before[2]}")
    rows = slice(n_before, n_before + n_rows)
    order = _Order(rng, X[rows], labels[rows], X[-_N_HELD_OUT:], labels[-_N_HELD_OUT:], tags)
    containers = _containers(rng, tags)
    chunks = _chunks(rng, order, sizes, containers, tags)
    params = {"C": float(rng.choice([0.1, 1.0, 100.0])), "random_state": int(rng.integers(1000))}
    if rng.random() < 0.15:
        params["fit_intercept"] = False
        tags.add("no intercept")
    if rng.random() < 0.2:
        params["shuffle"] = False
        tags.add("shuffle=False")
    return Stream(
        seed, chunks, order.held_out, n_classes, params, before, frozenset(tags), is_plain
    )


def _sizes(rng):
    """Return the sizes of the chunks, and the way that they were cut."""
    way = str(rng.choice(["large", "small", "large then small", "one row first", "awkward", "any"]))
    if way == "large":
        return list(rng.integers(300, 3000, 5)), way
    if way == "small":
        return list(rng.integers(1, 21, _MOST_CHUNKS)), way
    if way == "large then small":
        return [8192, *rng.integers(1, 21, _MOST_CHUNKS - 1)], way
    if way == "one row first":
        return [1, *rng.integers(20, 500, 10)], way
    if way == "awkward":
        return list(rng.choice([1, 63, 65, 97, 129, 255, 257, 513], 15)), way
    return [int(10 ** rng.uniform(0, 3.3)) for _ in range(15)], way


class _Order:
    """The order of a stream's rows: what each of them is like, and held-out rows of each kind."""

    def __init__(self, rng, X, y, X_held_out, y_held_out, tags):
        self.X, self.y = X.copy(), y
        way = str(rng.choice(["alike", "sorted", "late"], p=[0.6, 0.2, 0.2]))
        tags.add(f"rows:{way}")
        self.kinds = np.zeros(len(y), dtype=int)
        self.held_out = [(X_held_out, y_held_out)]
        if way == "sorted":
            order = np.argsort(y, kind="stable")
            self.X, self.y, self.kinds = X[order], y[order], y[order]
            self.held_out = [
                (X_held_out[y_held_out == k], y_held_out[y_held_out == k])
                for k in range(y_held_out.max() + 1)
            ]
        elif way == "late":
            columns = rng.random(X.shape[1]) < 0.5
            columns[rng.integers(len(columns))] = True
            value = float(rng.choice([0.0, 0.0, 1.0]))
            start = int(rng.uniform(0.1, 0.9) * len(y))
            self.X[:start, columns] = value
            self.kinds[start:] = 1
            X_before = X_held_out.copy()
            X_before[:, columns] = value
            self.held_out = [(X_before, y_held_out), (X_held_out, y_held_out)]


def _containers(rng, tags):
    way = str(rng.choice(["C", "F", "float32", "csr", "dense and CSR in turn"]))
    tags.add(f"X:{way}")
    return {"dense and CSR in turn": ["C", "csr"]}.get(way, [way])


def _chunks(rng, order, sizes, containers, tags):
    is_weighted = rng.random() < 0.15
    if is_weighted:
        tags.add("weights")
    chunks, start = [], 0
    for i, size in enumerate(sizes):
        rows = slice(start, start + int(size))
        start += int(size)
        X = order.X[rows]
        container = containers[i % len(containers)]
        if container == "csr":
            X = sp.csr_array(X)
        elif container == "float32":
            X = X.astype(np.float32)
        elif container == "F":
            X = np.asfortranarray(X)
        weight = rng.uniform(0.2, 3.0, int(size)) if is_weighted else None
        chunks.append(Chunk(X, order.y[rows], weight, order.kinds[rows]))
    return chunks


def run_and_judge(case):
    """Return what came of a :class:`Stream`, and the :class:`Verdict`."""
    estimator = SoftmaxRegressionClassifier(**case.params)
    fit = Fit()
    if case.before is not None:
        X, y, solver = case.before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.set_params(solver=solver).fit(X, y)
    lowest = np.full(len(case.held_out), np.inf)
    n_seen = 0 if case.before is None else len(case.before[1])
    losses = [_losses(estimator, X, y, case.n_classes) for X, y in case.held_out]
    for number, chunk in enumerate(case.chunks):
        n_warnings = len(fit.convergence_warnings)
        with watched(fit, chunk.X, chunk.y, chunk.sample_weight):
            classes = np.arange(case.n_classes)
            estimator.partial_fit(chunk.X, chunk.y, classes, sample_weight=chunk.sample_weight)
        fit.n_iter = number + 1
        flaw = _flaw(fit, chunk)
        if flaw is not None:
            return fit, Verdict(True, f"{flaw} (chunk {number + 1})")
        if fit.error is not None:
            return fit, Verdict(False, "refused")
        after = [_losses(estimator, X, y, case.n_classes) for X, y in case.held_out]
        has_warned = len(fit.convergence_warnings) > n_warnings
        n_seen += len(chunk.y)
        verdict = _judge_chunk(case, chunk, losses, after, n_seen)
        if verdict.fails and not has_warned:
            verdict.reason += f" (chunk {number + 1} of {len(chunk.y)} rows)"
            return fit, verdict
        losses = after
        lowest = np.minimum(lowest, [loss.mean() for loss in losses])
    fit.coef, fit.intercept = estimator.coef_, estimator.intercept_
    verdict = Verdict(False, "no worse after any chunk")
    if len(case.held_out) == 1:
        verdict = _judge_end(case, losses[0], lowest[0])
    if fit.convergence_warnings:
        verdict.needless = not verdict.fails
        verdict.fails, verdict.reason = False, "warned"
    return fit, verdict


def _flaw(fit, chunk):
    if fit.has_changed_arrays:
        return "the caller's arrays have changed"
    if fit.error is not None:
        is_due = is_clear(chunk, fit.error)
        return None if is_due else f"{type(fit.error).__name__}: {fit.error}"
    stray = [text for text in fit.other_warnings if text.startswith("RuntimeWarning")]
    return stray[0] if stray else None


def _losses(estimator, X, y, n_classes):
    """Return the cross-entropy of each row; that of equal probabilities if there is no model."""
    if not hasattr(estimator, "coef_"):
        return np.full(len(y), np.log(n_classes))
    coef = estimator.coef_.astype(np.longdouble)
    logits = X @ coef.T + estimator.intercept_
    if n_classes == 2:
        logits = np.column_stack([np.zeros_like(logits), logits])
    logits = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits).sum(axis=1))
    return (total - logits[np.arange(len(y)), y]).astype(float)


def _judge_chunk(case, chunk, before, after, n_seen):
    """Return the verdict on held-out rows like those of the chunk, the last of ``n_seen``."""
    kinds, codes = np.unique(chunk.kinds, return_inverse=True)
    share = np.bincount(codes, weights=chunk.sample_weight)
    share = share / share.sum()
    pairs = [(before[kind], after[kind]) for kind in kinds]
    old = sum(s * pair[0].mean() for s, pair in zip(share, pairs, strict=True))
    new = sum(s * pair[1].mean() for s, pair in zip(share, pairs, strict=True))
    error = sum(s * _standard_error(*pair) for s, pair in zip(share, pairs, strict=True))
    noise = CHUNK_NOISE + _START_NOISE / n_seen
    allowed = noise * np.log(case.n_classes) + _STANDARD_ERRORS * error
    fails = not new - old <= allowed
    return Verdict(fails, "worse after a chunk", float(new), float(old), allowed=float(allowed))


def _standard_error(before, after):
    """Return that of the mean difference, no row counting for more than the mean loss allows."""
    change = np.clip(after - before, -5.0, 5.0)
    return change.std() / np.sqrt(len(change))


def _judge_end(case, losses, lowest):
    noise = STREAM_NOISE * np.log(case.n_classes)
    error = _STANDARD_ERRORS * losses.clip(0, 5).std() / np.sqrt(len(losses))
    bounds = {
        "worse than no model": (np.log(case.n_classes), noise),
        "worse than on the way": (lowest, noise + error),
    }
    if case.before is None:
        bounds["worse than in one chunk"] = (_in_one_chunk(case), noise + error)
    for reason, (bound, allowed) in bounds.items():
        if losses.mean() > bound + allowed:
            return Verdict(True, reason, float(losses.mean()), float(bound), allowed=float(allowed))
    return Verdict(False, "no worse after any chunk")


def _in_one_chunk(case):
    """Return the held-out loss after the same rows in one chunk."""
    chunks = case.chunks
    X = [chunk.X.toarray() if sp.issparse(chunk.X) else chunk.X for chunk in chunks]
    X, y = np.concatenate(X), np.concatenate([chunk.y for chunk in chunks])
    weight = None
    if chunks[0].sample_weight is not None:
        weight = np.concatenate([chunk.sample_weight for chunk in chunks])
    estimator = SoftmaxRegressionClassifier(**case.params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            estimator.partial_fit(X, y, np.arange(case.n_classes), sample_weight=weight)
        except ValueError:
            return np.inf
    return _losses(estimator, *case.held_out[0], case.n_classes).mean()
