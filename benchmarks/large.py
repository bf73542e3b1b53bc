"""Files that are larger than memory, and clusters: what an evaluation costs there.

python benchmarks/large.py [memmap disk dask rows peers] [--folder FOLDER]
"""

import argparse
import itertools
import os
import resource
import tempfile
import threading
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

import numpy as np
from panel import versions
from sklearn.exceptions import ConvergenceWarning

from sklearn_softmax import SoftmaxRegressionClassifier, functional

N_FEATURES, N_CLASSES = 784, 10
BLOCK = 65_536


def labels_of(n_rows):
    return np.random.default_rng(0).integers(0, N_CLASSES, n_rows)


def write(path, n_rows):
    """Write classes around centres of their own, in float32; return the labels."""
    y = labels_of(n_rows)
    centers = 0.1 * np.random.default_rng(1).standard_normal((N_CLASSES, N_FEATURES))
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((2 * BLOCK, N_FEATURES), dtype=np.float32)
    if path.exists():
        return y
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, N_FEATURES))
    for start in range(0, n_rows, BLOCK):
        codes = y[start : start + BLOCK]
        shift = rng.integers(BLOCK)
        X[start : start + BLOCK] = noise[shift : shift + len(codes)] + centers[codes]
    X.flush()
    return y


class AnonymousMemory:
    """The largest anonymous memory of this process while it is within (bytes)."""

    def __enter__(self):
        self.largest, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._ended.wait(0.02):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    self.largest = max(self.largest, 1024 * int(line.split()[1]))

    def __exit__(self, *exc_info):
        self._ended.set()
        self._thread.join()


class Evaluations:
    """Counts and times evaluations of the loss."""

    def __enter__(self):
        from sklearn_softmax._objective.linear import SoftmaxObjective

        self.times, self._class = [], SoftmaxObjective
        self._original = original = SoftmaxObjective.loss_gradient

        def timed(objective, vector):
            start = time.perf_counter()
            result = original(objective, vector)
            self.times.append(time.perf_counter() - start)
            return result

        SoftmaxObjective.loss_gradient = timed
        return self

    def __exit__(self, *exc_info):
        self._class.loss_gradient = self._original


def fit(X, y, **options):
    """Return the seconds that a fit takes, and its median evaluation."""
    with Evaluations() as evaluations:
        start = time.perf_counter()
        clf = SoftmaxRegressionClassifier(**options).fit(X, y)
        taken = time.perf_counter() - start
    return clf, taken, np.median(evaluations.times), len(evaluations.times)


def fit_thrice(X, y):
    """Return the last of three models, the medians of the two times, and its evaluations."""
    found = [fit(X, y) for _ in range(3)]
    clf, _, _, n_evaluations = found[-1]
    seconds, evaluation = (float(np.median([item[i] for item in found])) for i in (1, 2))
    return clf, seconds, evaluation, n_evaluations


def memmap(folder, gigabytes=8):
    """A memory map in the page cache beside the same array in memory."""
    n_rows = int(gigabytes * 1e9) // (4 * N_FEATURES)
    path = folder / "memmap.npy"
    y = write(path, n_rows)
    X = np.load(path, mmap_mode="r")
    with AnonymousMemory() as memory:
        mapped, taken, evaluation, n = fit(X, y, max_iter=4)
    print(
        f"memory map of {X.nbytes / 1e9:.1f} GB, {n_rows} x {N_FEATURES} float32: {taken:.1f} s, "
        f"an evaluation {evaluation:.3f} s ({n}); anonymous memory at most "
        f"{memory.largest / 1e6:.0f} MB",
        flush=True,
    )
    in_memory = np.array(X)
    again, _, in_memory_evaluation, _ = fit(in_memory, y, max_iter=4)
    print(
        f"  in memory {in_memory_evaluation:.3f} s: the file takes "
        f"{evaluation / in_memory_evaluation:.2f} times as long; coefficients differ by "
        f"{np.abs(mapped.coef_ - again.coef_).max():.1e}"
    )


def disk(folder, gigabytes=30):
    """A file that is larger than memory, beside reading it."""
    n_rows = int(gigabytes * 1e9) // (4 * N_FEATURES)
    path = folder / "disk.npy"
    y = write(path, n_rows)
    size = path.stat().st_size
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    start = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(16 << 20)
        while file.readinto(buffer):
            pass
    reading = time.perf_counter() - start
    with AnonymousMemory() as memory:
        _, taken, evaluation, n = fit(np.load(path, mmap_mode="r"), y, max_iter=2)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    print(
        f"file of {size / 1e9:.1f} GB, memory {available / 1e9:.1f} GB: reading it "
        f"{size / reading / 1e9:.2f} GB/s, an evaluation {size / evaluation / 1e9:.2f} GB/s "
        f"({n} in {taken:.0f} s, {faults} page faults); anonymous memory at most "
        f"{memory.largest / 1e6:.0f} MB"
    )


def chunk(block_info=None, n_classes=N_CLASSES):
    """Return rows with the class in the last column, made where they are needed."""
    (start, stop), (_, n_columns) = block_info[None]["array-location"]
    rng = np.random.default_rng(start)
    y = rng.integers(0, n_classes, stop - start)
    centers = 0.1 * np.random.default_rng(1).standard_normal((n_classes, n_columns - 1))
    X = rng.standard_normal((stop - start, n_columns), dtype=np.float32)
    X[:, :-1] += centers[y]
    X[:, -1] = y
    return X


def table(n_rows, n_features, n_parts, n_classes=N_CLASSES):
    """Return X and y as Dask arrays that are at the workers already."""
    import dask.array as da
    from dask.distributed import wait

    chunks = (-(-n_rows // n_parts), n_features + 1)
    rows = da.map_blocks(
        chunk,
        n_classes=n_classes,
        chunks=da.core.normalize_chunks(chunks, (n_rows, n_features + 1)),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    ).persist()
    X = rows[:, :-1].map_blocks(np.ascontiguousarray).persist()
    y = rows[:, -1].astype(int).persist()
    wait([X, y])
    return X, y


def cluster():
    from dask.distributed import Client, LocalCluster

    return Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0"))


def dask(folder):
    """Two worker processes beside two threads in memory; what an evaluation costs besides."""
    with cluster():
        for n_parts in (2, 8, 32):
            X, y = table(400_000, N_FEATURES, n_parts)
            clf, seconds, evaluation, n = fit_thrice(X, y)
            print(
                f"Dask, 2 workers, {X.shape[0]} x {X.shape[1]} in {n_parts} partitions: "
                f"{seconds:.2f} s, an evaluation {evaluation:.3f} s ({n})",
                flush=True,
            )
        X, y = X.compute(), y.compute()
    again, seconds, evaluation, n = fit_thrice(X, y)
    print(
        f"  in memory {seconds:.2f} s, an evaluation {evaluation:.3f} s "
        f"({n}); coefficients differ by {np.abs(clf.coef_ - again.coef_).max():.1e}"
    )


def rows(folder):
    """Time by number of rows, and of partitions."""
    with cluster():
        for times in (1, 2, 4, 8):
            X, y = table(50_000 * times, N_FEATURES, 8)
            found = [fit(X, y, max_iter=10, tol=0.0) for _ in range(3)]
            print(
                f"{X.shape[0]} rows: ten iterations {np.median([f[1] for f in found]):.2f} s, an "
                f"evaluation {np.median([f[2] for f in found]):.4f} s",
                flush=True,
            )
        for n_parts in (2, 8, 32, 128, 512):
            X, y = table(100 * n_parts, 20, n_parts)
            _, _, evaluation, n = fit(X, y, max_iter=10, tol=0.0)
            print(
                f"{n_parts} partitions of 100 rows: an evaluation {1e3 * evaluation:.1f} ms ({n})",
                flush=True,
            )


def objective_of(X, y, coef, intercept, C=1.0):
    """Return our objective of a model, in float64, for labels counted from 0."""
    penalty = 0.5 / (C * len(y)) * float(np.sum(np.asarray(coef, dtype=float) ** 2))
    total = 0.0
    for start in range(0, len(y), BLOCK):
        part = slice(start, start + BLOCK)
        logits = X[part].astype(float) @ np.asarray(coef, dtype=float).T + intercept
        if logits.shape[1] == 1:
            logits = np.hstack([np.zeros_like(logits), logits])
        total += float(functional.cross_entropy(logits, y[part], reduction="sum"))
    return total / len(y) + penalty


def dask_ml(X, y):
    """Return the seconds that dask-ml takes, and its model (binary only)."""
    from dask_ml.linear_model import LogisticRegression

    start = time.perf_counter()
    clf = LogisticRegression(C=1.0, solver="lbfgs", max_iter=1000, tol=1e-8).fit(X, y)
    return time.perf_counter() - start, np.atleast_2d(clf.coef_), np.atleast_1d(clf.intercept_)


def spark(folder, X, y):
    """Return the seconds that Spark MLlib takes on a cached table, and its model."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import SparkSession

    path = folder / "spark.parquet"
    features = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel().astype(float)), X.shape[1])
    rows = features.cast(pa.list_(pa.float64()))
    pq.write_table(pa.table({"label": y.astype(float), "rows": rows}), path, row_group_size=20_000)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "8g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    data = session.read.parquet(str(path)).repartition(2)
    data = data.select("label", array_to_vector("rows").alias("features")).cache()
    data.count()
    model = LogisticRegression(
        family="multinomial" if y.max() > 1 else "binomial",
        regParam=1.0 / len(y),  # C=1
        standardization=False,
        maxIter=1000,
        tol=1e-9,
    )
    taken = []
    for _ in range(2):  # (the second run has compiled code)
        start = time.perf_counter()
        fitted = model.fit(data)
        taken.append(time.perf_counter() - start)
    coef, intercept = fitted.coefficientMatrix.toArray(), fitted.interceptVector.toArray()
    print(f"  Spark took {fitted.summary.totalIterations} iterations", flush=True)
    session.stop()
    return min(taken), coef, intercept


def peers(folder):
    """dask-ml (two classes) and Spark MLlib beside ours on Dask, on the same two cores."""
    mixing = np.random.default_rng(3).standard_normal((100, 100))
    for n_classes, is_mixed in itertools.product((2, 10), (False, True)):
        with cluster():
            X, y = table(400_000, 100, 2, n_classes)
            X = X.astype(float).map_blocks(np.matmul, mixing if is_mixed else np.eye(100)).persist()
            X[:1].compute()
            clf, taken, _, _ = fit_thrice(X, y)
            models = {"ours": (taken, clf.coef_, clf.intercept_)}
            if n_classes == 2:
                models["dask-ml"] = dask_ml(X, y)
            X, y = X.compute(), y.compute()
        models["Spark MLlib"] = spark(folder, X, y)
        for name, (seconds, coef, intercept) in models.items():
            kind = f"{n_classes} classes, {X.shape[0]} x {X.shape[1]}{', mixed' * is_mixed}"
            print(
                f"{kind}: {name} {seconds:.2f} s, "
                f"objective {objective_of(X, y, coef, intercept):.8f}, "
                f"{seconds / models['ours'][0]:.1f}x",
                flush=True,
            )


PARTS = {"memmap": memmap, "disk": disk, "dask": dask, "rows": rows, "peers": peers}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--folder", type=Path, default=None, help="where to write large files")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(versions())
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.parts or PARTS:
            PARTS[name](arguments.folder or Path(folder))


if __name__ == "__main__":
    main()
