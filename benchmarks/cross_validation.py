"""Ten values of C, five folds: ours beside LogisticRegressionCV and a grid search over ours.

SOFTMAX_DATA=FOLDER python benchmarks/cross_validation.py --data digits wine letter

Each peer is run with one BLAS thread and with all, and the faster run counts. LogisticRegressionCV
is raced twice: as it comes, and as exact as ours. For the second race the fastest of its solvers
counts whose objectives are within 1e-4 of the lowest that anyone has found, in every fold and for
every C. Beside the times stand such excesses: the largest, and the median.
"""

import argparse
import os
import signal
import time
import warnings
from statistics import geometric_mean, median

import numpy as np
from panel import BENCHMARK, selected, versions
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV

DATA = ("wine", "breast_cancer", "digits", "satimage", "pendigits", "letter", "otto")
# Of larger tables so many rows are taken, drawn at a fixed seed.
MOST_ROWS = 10_000
CS = np.logspace(-4, 4, 10)
N_FOLDS = 5
# A fit is repeated until so many seconds have passed; a peer may take so many times as long as
# ours, and at least so many seconds.
ENOUGH, PATIENCE, LEAST_LIMIT = 2.0, 20, 10.0
ACCURATE = 1e-4
EXACT_PEERS = (
    {"solver": "lbfgs", "tol": 1e-6, "max_iter": 10_000},
    {"solver": "newton-cg", "tol": 1e-6, "max_iter": 1000},
    {"solver": "newton-cholesky", "tol": 1e-8, "max_iter": 1000},
)


class TooLongError(Exception):
    """A fit has used up its time."""


def timed(estimator, X, y, limit=None):
    """Fit an estimator; return the median of the seconds that takes, infinite beyond the limit."""

    def stop(*_):
        raise TooLongError

    taken = []
    while len(taken) < 5 and sum(taken) < ENOUGH:
        start = time.perf_counter()
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, limit or 0)
        try:
            estimator.fit(X, y)
        except TooLongError:
            return float("inf")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        taken.append(time.perf_counter() - start)
    return median(taken)


def raced(estimator, X, y, limit):
    """Return the seconds with one BLAS thread or with all, whichever are fewer."""
    fastest = float("inf")
    for n_threads in (1, None):
        with threadpool_limits(n_threads):
            fastest = min(fastest, timed(estimator, X, y, limit))
    return fastest


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


def race(name, X, y, *, with_grid, with_exact):
    """Print a row of the table; return how many times as long the others take."""
    ours = SoftmaxRegressionClassifierCV(Cs=CS, cv=N_FOLDS)
    seconds = timed(ours, X, y)
    limit = max(LEAST_LIMIT, PATIENCE * seconds)
    found, times = {"ours": objectives(ours, X, y)}, {}
    for options in ({}, *(EXACT_PEERS if with_exact else ())):
        peer = LogisticRegressionCV(
            Cs=CS,
            cv=N_FOLDS,
            l1_ratios=(0.0,),
            scoring="neg_log_loss",
            use_legacy_attributes=False,
            **options,
        )
        solver = options.get("solver", "default")
        times[solver] = raced(peer, X, y, limit)
        if np.isfinite(times[solver]):
            found[solver] = objectives(peer, X, y)
    lowest = np.min(list(found.values()), axis=0)
    excess = {solver: values / lowest - 1 for solver, values in found.items()}
    exact = [
        (times[solver], solver)
        for solver in excess
        if solver not in ("ours", "default") and excess[solver].max() <= ACCURATE
    ]
    nobody = (limit, "nobody") if with_exact else (float("nan"), "-")
    best, solver = min(exact, default=nobody)
    grid = float("nan")
    if with_grid:
        # (It scores by accuracy, which costs no more than what ours does.)
        search = GridSearchCV(SoftmaxRegressionClassifier(), {"C": CS}, cv=N_FOLDS)
        grid = timed(search, X, y) / seconds
    ratios = times["default"] / seconds, best / seconds, grid
    shown = [
        f"{excess[who].max():.0e} ({np.median(excess[who]):.0e})" if who in excess else "-"
        for who in ("ours", "default")
    ]
    at_least = ">" if solver == "nobody" else " "
    print(
        f"{name:28} {seconds:7.3f} {ratios[0]:8.2f} {at_least}{ratios[1]:7.2f} "
        f"{solver:15} {grid:8.2f}   {shown[0]:16} {shown[1]}",
        flush=True,
    )
    return ratios


def main():
    """Race on all data sets, raw and standardised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--no-grid", action="store_true", help="leave out the grid search")
    parser.add_argument("--no-exact", action="store_true", help="leave out the second race")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(versions())
    print(f"{os.cpu_count()} cores; the times of others are in multiples of ours")
    print(
        f"{'data':28} {'ours, s':>7} {'default':>8} {'exact':>8} {'by':15} {'grid':>8}   "
        f"{'excess: ours':16} default"
    )
    ratios = []
    for dataset in selected(BENCHMARK.get_datasets(), arguments.data, "dataset"):
        X, y = dataset.get_data().values()
        X = np.asarray(X, dtype=np.float64)
        if len(X) > MOST_ROWS:
            rows = np.sort(np.random.default_rng(0).permutation(len(X))[:MOST_ROWS])
            X, y = X[rows], y[rows]
        for kind, values in (("raw", X), ("standardised", StandardScaler().fit_transform(X))):
            options = {"with_grid": not arguments.no_grid, "with_exact": not arguments.no_exact}
            ratios.append(race(f"{dataset} {kind}", values, y, **options))
    titles = "LogisticRegressionCV as it comes", "LogisticRegressionCV to 1e-4", "grid search"
    for title, column in zip(titles, np.array(ratios).T, strict=True):
        if np.isfinite(column).all():
            mean, least = geometric_mean(column), min(column)
            print(f"{title}: {mean:.2f} times in the geometric mean, at least {least:.2f}")


if __name__ == "__main__":
    main()
