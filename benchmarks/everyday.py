"""What users do all day: grid searches, predictions, memory, threads, one evaluation of the loss.

SOFTMAX_DATA=FOLDER python benchmarks/everyday.py
"""

import argparse
import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np
from panel import BENCHMARK, selected, versions
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._objective import linear as _linear
from sklearn_softmax._objective.linear import SoftmaxObjective
from sklearn_softmax._rows import blocks as _blocks
from sklearn_softmax._rows.blocks import RowBlocks

PARTS = ["grid", "predict", "memory", "threads", "evaluation"]
N_THREADS = os.cpu_count()
# Shapes, classes and dtypes of X.
EVALUATED = (
    ((60_000, 784), 10, "float64"),
    ((60_000, 784), 10, "float32"),
    ((60_000, 784), 10, "uint8"),
    ((20_000, 400), 150, "float64"),
    ((200_000, 100), 50, "float64"),
    ((93_000, 54), 7, "int16"),
)

PREDICTED = ("digits", "letter", "otto", "covertype_93k", "fashion_mnist[scale=255]", "clinc151")


def seconds(function, repeats=5):
    """Return the median time of a call."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return median(taken)


def grid_search():
    """Ten values of C, five folds, on digits: scikit-learn's solvers and ours."""
    X, y = load_digits(return_X_y=True)
    grid = {"C": np.logspace(-4, 2, 10)}
    ours = seconds(lambda: GridSearchCV(SoftmaxRegressionClassifier(), grid).fit(X, y), 3)
    print(f"GridSearchCV on digits, 10 values of C, 5 folds: {ours:.2f} s")
    for solver in ("lbfgs", "newton-cg", "newton-cholesky"):
        peer = LogisticRegression(solver=solver)
        theirs = seconds(lambda peer=peer: GridSearchCV(peer, grid).fit(X, y), 1)
        print(f"  LogisticRegression({solver!r}): {theirs:.2f} s, {theirs / ours:.1f}x")


def predictions(names):
    """predict and predict_proba of the same model."""
    for dataset in selected(BENCHMARK.get_datasets(), names, "dataset"):
        X, y = dataset.get_data().values()
        clf = SoftmaxRegressionClassifier(max_iter=2).fit(X, y)
        peer = LogisticRegression(max_iter=1).fit(X[:1000], y[:1000])
        for name in ("coef_", "intercept_", "classes_"):
            setattr(peer, name, getattr(clf, name))
        for method in ("predict", "predict_proba"):
            ours = seconds(lambda m=method, clf=clf, X=X: getattr(clf, m)(X))
            theirs = seconds(lambda m=method, peer=peer, X=X: getattr(peer, m)(X))
            print(
                f"{method} on {dataset}: {1e3 * ours:.1f} ms, "
                f"scikit-learn {1e3 * theirs:.1f} ms, {theirs / ours:.1f}x"
            )


def resident():
    """Return the process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return 4096 * pages


def memory(names):
    """What a fit takes at its peak beside X, in per cent of X; each in a process of its own."""
    for dataset in selected(BENCHMARK.get_datasets(), names, "dataset"):
        process = get_context("spawn").Process(target=memory_of, args=(str(dataset),))
        process.start()
        process.join()


def memory_of(name):
    """The same of one data set."""
    (dataset,) = selected(BENCHMARK.get_datasets(), [name], "dataset")
    X, y = dataset.get_data().values()
    # Libraries and compiled code are there before.
    with (
        mock.patch.multiple(_linear, _COMPILED_WORK=0, _ROUGH_WORK=0),
        mock.patch.object(_blocks, "_COMPILED_SPARSE_WORK", 0),
    ):
        SoftmaxRegressionClassifier(max_iter=20).fit(X[:100], y[:100])
    before, peak, done = resident(), 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    clf = SoftmaxRegressionClassifier(max_iter=30).fit(X, y)
    done.set()
    watcher.join()
    arrays = (X.data, X.indices, X.indptr) if hasattr(X, "tocsr") else (X,)
    size = sum(array.nbytes for array in arrays)
    model = 8 * (clf.coef_.size + clf.intercept_.size)
    print(
        f"memory on {dataset}: X {size / 1e6:.0f} MB, beside it {(peak - before) / 1e6:.0f} MB "
        f"({100 * (peak - before) / size:.0f}%), parameters {model / 1e6:.2f} MB"
    )


def threads(names):
    """One thread against two."""
    for dataset in selected(BENCHMARK.get_datasets(), names, "dataset"):
        X, y = dataset.get_data().values()
        taken = []
        for n_jobs in (1, 2):
            clf = SoftmaxRegressionClassifier(max_iter=20, n_jobs=n_jobs).fit(X, y)
            taken.append(seconds(lambda clf=clf, X=X, y=y: clf.fit(X, y), 3))
        print(
            f"threads on {dataset}: {taken[0]:.2f} s, {taken[1]:.2f} s, {taken[0] / taken[1]:.2f}x"
        )


def machine_rates():
    """Return bytes read and multiplications and additions done a second, on all threads."""
    numbers = np.ones(1 << 27, dtype=np.float32)  # (zeros would all be one page)
    halves = np.array_split(numbers, N_THREADS)
    with ThreadPoolExecutor(N_THREADS) as pool:
        reading = numbers.nbytes / seconds(lambda: list(pool.map(np.max, halves)))
    work = {}
    for dtype in (np.float64, np.float32):
        a, b = np.ones((2, 3000, 3000), dtype=dtype)
        work[np.dtype(dtype)] = 2 * len(a) ** 3 / seconds(lambda a=a, b=b: a @ b)
    return reading, work


def evaluations():
    """One evaluation of loss and gradient, beside the least that X and the products ask for."""
    reading, work = machine_rates()
    rates = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in work.items())
    print(f"read {reading / 1e9:.1f} GB/s, matrix products {rates}")
    rng = np.random.default_rng(0)
    for shape, n_classes, dtype in EVALUATED:
        X = rng.integers(0, 255, shape, dtype=np.uint8).astype(dtype)
        y = rng.integers(0, n_classes, len(X))
        taken = []
        for compiled_work in (0, np.inf):
            _linear._COMPILED_WORK = compiled_work
            with RowBlocks(X, y, n_classes=n_classes) as blocks:
                objective = SoftmaxObjective(blocks, C=1.0)
                vector = np.zeros(objective.n_outputs * objective.n_columns)
                objective.loss_gradient(vector)
                taken.append(seconds(lambda o=objective, v=vector: o.loss_gradient(v), 9))
        least = max(X.nbytes / reading, 4 * X.size * n_classes / work[blocks.dtype])
        print(
            f"evaluation of {shape[0]} x {shape[1]} x {n_classes}, {X.dtype}: Numba "
            f"{1e3 * taken[0]:.1f} ms, NumPy {1e3 * taken[1]:.1f} ms, least {1e3 * least:.1f} ms: "
            f"{min(taken) / least:.2f}x"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=PARTS)
    parser.add_argument("--data", nargs="+", default=list(PREDICTED))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(versions())
    if "grid" in arguments.only:
        grid_search()
    if "predict" in arguments.only:
        predictions(arguments.data)
    if "memory" in arguments.only:
        memory(arguments.data)
    if "threads" in arguments.only:
        threads(arguments.data)
    if "evaluation" in arguments.only:
        evaluations()


if __name__ == "__main__":
    main()
