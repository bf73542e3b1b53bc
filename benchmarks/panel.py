"""Time to the optimum: ours beside its peers, in one run.

python benchmarks/panel.py --data wine digits --C 0.01 1 100
"""

import argparse
import platform
import time
import warnings
from statistics import median

import numpy as np
import sklearn
from peers import PEERS
from problems import load
from sklearn.exceptions import ConvergenceWarning

import sklearn_softmax
from sklearn_softmax.functional import cross_entropy

GAPS = (1e-4, 1e-6)


def objective(model, X, y, C):
    """Return the mean cross-entropy plus |W|^2 / (2 C n) in float64, in blocks of rows."""
    classes, coef, intercept = model
    coef = np.asarray(coef, dtype=float)
    labels = np.searchsorted(classes, y)
    total = 0.5 * (coef**2).sum() / C
    for start in range(0, X.shape[0], 10_000):
        part = slice(start, start + 10_000)
        logits = np.asarray(X[part] @ coef.T + intercept, dtype=float)
        if logits.shape[1] == 1:
            logits = np.column_stack([np.zeros(len(logits)), logits])
        total += cross_entropy(logits, labels[part], reduction="sum")
    return float(total) / X.shape[0]


def measure(peer, X, y, C, *, repeats, limit):
    """Return (seconds, objective, warned) for each of a peer's fits, up to a limit of seconds."""
    points = []
    for fit in peer(X, y, C):
        seconds = []
        for _ in range(repeats):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                start = time.perf_counter()
                model = fit()
                seconds.append(time.perf_counter() - start)
            if sum(seconds) > limit:
                break
        warned = any(issubclass(w.category, ConvergenceWarning) for w in caught)
        points.append((median(seconds), objective(model, X, y, C), warned))
        if seconds[-1] > limit:
            break
    return points


def time_to(points, target):
    """Return the seconds of the cheapest fit that is low enough."""
    return min((seconds for seconds, value, _ in points if value <= target), default=np.inf)


def run(name, C, arguments):
    """Measure one problem and print its table."""
    X, y = load(name, arguments.folder)
    if arguments.dtype:
        X = X.astype(arguments.dtype)
    print(f"\n{name}: {X.shape[0]} x {X.shape[1]}, {len(np.unique(y))} classes, {X.dtype}, C={C:g}")
    results = {}
    for peer in arguments.peers:
        try:
            results[peer] = measure(
                PEERS[peer], X, y, C, repeats=arguments.repeats, limit=arguments.limit
            )
        except Exception as error:
            print(f"  {peer:28} failed: {type(error).__name__}: {str(error)[:80]}")
    best = min(value for points in results.values() for _, value, _ in points)
    own = (
        [time_to(results["ours"], best * (1 + gap)) for gap in GAPS] if "ours" in results else None
    )
    print(f"  {'best objective ' + format(best, '.8f'):28}" + "".join(f"{g:>18.0e}" for g in GAPS))
    ratios = []
    for peer, points in results.items():
        cells = []
        for k, gap in enumerate(GAPS):
            seconds = time_to(points, best * (1 + gap))
            ratio = f"{seconds / own[k]:7.1f}x" if own and np.isfinite(seconds) else " " * 8
            cells.append(
                f"{seconds:10.4f}{ratio}" if np.isfinite(seconds) else f"{'-':>10}        "
            )
        seconds, value, warned = points[-1]
        last = f"  last: {seconds:.3f} s, gap {value / best - 1:.0e}" + (
            ", warned" if warned else ""
        )
        print(f"  {peer:28}" + "".join(cells) + last, flush=True)
    if own:
        for k in range(len(GAPS)):
            theirs = [
                time_to(points, best * (1 + GAPS[k]))
                for peer, points in results.items()
                if not peer.startswith("ours")
            ]
            ratios.append(min(theirs, default=np.inf) / own[k])
    return ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["iris", "wine", "breast_cancer", "digits"])
    parser.add_argument("--C", nargs="+", type=float, default=[1.0])
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--dtype", choices=["float32", "float64"], help="default: as it is")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=30.0, help="seconds a peer's fit may take")
    parser.add_argument("--folder", help="a folder of data sets with a load.py")
    arguments = parser.parse_args()
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"scikit-learn {sklearn.__version__}, sklearn_softmax {sklearn_softmax.__version__}"
    )
    ratios = [run(name, C, arguments) for C in arguments.C for name in arguments.data]
    print("\nBest peer's time over ours, geometric mean (problems where a peer reached the gap):")
    for k, gap in enumerate(GAPS):
        reached = np.array([r[k] for r in ratios if len(r) and np.isfinite(r[k])])
        if len(reached):
            mean = np.exp(np.log(reached).mean())
            print(f"  {gap:.0e}: {mean:.1f} ({len(reached)} problems, least {reached.min():.1f})")


if __name__ == "__main__":
    main()
