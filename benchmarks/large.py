"""Files that are larger than memory, and clusters: what an evaluation costs there.

python benchmarks/large.py [memmap disk dask rows peers] [--folder FOLDER]
"""

import argparse
import os
import resource
import tempfile
import threading
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

import numpy as np
from everyday import versions
from sklearn.exceptions import ConvergenceWarning

from sklearn_softmax import SoftmaxRegressionClassifier

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
        from sklearn_softmax._objective import SoftmaxObjective

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


PARTS = {"memmap": memmap, "disk": disk}


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
