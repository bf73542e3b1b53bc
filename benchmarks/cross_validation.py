"""Ten values of C, five folds: ours beside LogisticRegressionCV and a grid search over ours.

SOFTMAX_DATA=FOLDER python benchmarks/cross_validation.py --data digits wine letter

Each fit of LogisticRegressionCV is made with one BLAS thread and with all, and the faster counts.
Beside the times stands by how much the objectives of its fits, and of ours, are above the lower of
the two: the largest excess over all folds and values of C, relatively, and the median.
"""

import argparse
import os
import time
import warnings
from pathlib import Path
from statistics import geometric_mean, median

import numpy as np
from panel import BENCHMARK, selected, versions
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV

DATA = ("wine", "breast_cancer", "digits", "letter", "satimage", "pendigits", "otto")
# Of larger tables so many rows are taken, drawn at a fixed seed.
MOST_ROWS = 20_000
CS = np.logspace(-4, 4, 10)
N_FOLDS = 5
# What takes longer than this is timed once (seconds).
LONG = 3.0


def fitted(estimator, X, y, repeats=5):
    """Return a fitted estimator, and the median of the seconds that a fit takes."""
    taken = []
    while len(taken) < repeats and sum(taken) < LONG:
        start = time.perf_counter()
        estimator.fit(X, y)
        taken.append(time.perf_counter() - start)
    return estimator, median(taken)


def objectives(clf, X, y):
    """Return the objective of each fit, in nats, of shape (n_folds, n_Cs)."""
    found = np.empty((N_FOLDS, len(CS)))
    codes = np.searchsorted(clf.classes_, y)
    for fold, (train, _) in enumerate(StratifiedKFold(N_FOLDS).split(X, y)):
        for j, C in enumerate(CS):
            coefs = clf.coefs_paths_[fold, 0, j]
            logits = X[train] @ coefs[:, :-1].T + coefs[:, -1]
            if len(coefs) == 1:
                logits = np.column_stack([np.zeros(len(train)), logits])
            losses = -log_softmax(logits, axis=1)[np.arange(len(train)), codes[train]]
            penalty = 0.5 * np.sum(coefs[:, :-1] ** 2) / C
            found[fold, j] = (losses.sum() + penalty) / len(train)
    return found


def race(name, X, y, *, with_grid):
    """Print a row of the table; return how many times as long the peers take."""
    ours, seconds = fitted(SoftmaxRegressionClassifierCV(Cs=CS, cv=N_FOLDS), X, y)
    theirs = LogisticRegressionCV(
        Cs=CS, cv=N_FOLDS, l1_ratios=(0.0,), scoring="neg_log_loss", use_legacy_attributes=False
    )
    peer = float("inf")
    for n_threads in (1, None):
        with threadpool_limits(n_threads):
            peer = min(peer, fitted(theirs, X, y)[1])
    excess = [objectives(clf, X, y) for clf in (ours, theirs)]
    lower = np.minimum(*excess)
    shown = [f"{(e / lower - 1).max():.0e} ({np.median(e / lower - 1):.0e})" for e in excess]
    grid = float("nan")
    if with_grid:
        # (It scores by accuracy, which costs no more than what ours does.)
        search = GridSearchCV(SoftmaxRegressionClassifier(), {"C": CS}, cv=N_FOLDS)
        grid = fitted(search, X, y, 1)[1] / seconds
    print(
        f"{name:24} {seconds:8.3f} {peer / seconds:7.2f}x {grid:7.2f}x   {shown[0]:16} {shown[1]}",
        flush=True,
    )
    return peer / seconds, grid


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--no-grid", action="store_true", help="leave out the grid search")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(versions())
    print(f"{os.cpu_count()} cores; times of others in multiples of ours")
    print(f"{'data':24} {'ours (s)':>8} {'LRCV':>8} {'grid':>8}   {'excess, ours':16} theirs")
    ratios = []
    for dataset in selected(BENCHMARK.get_datasets(), arguments.data, "dataset"):
        X, y = dataset.get_data().values()
        X = np.asarray(X, dtype=np.float64)
        if len(X) > MOST_ROWS:
            rows = np.sort(np.random.default_rng(0).permutation(len(X))[:MOST_ROWS])
            X, y = X[rows], y[rows]
        for kind, values in (("raw", X), ("standardised", StandardScaler().fit_transform(X))):
            name = f"{Path(str(dataset)).name} {kind}"
            ratios.append(race(name, values, y, with_grid=not arguments.no_grid))
    for title, column in zip(
        ("LogisticRegressionCV", "grid search"), np.array(ratios).T, strict=True
    ):
        if np.isfinite(column).all():
            print(
                f"{title}: {geometric_mean(column):.2f}x in the geometric mean, least {min(column):.2f}x"
            )


if __name__ == "__main__":
    main()
