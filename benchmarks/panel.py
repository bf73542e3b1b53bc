"""Time to the optimum of every solver on every data set, in one run, as a table of ratios.

python benchmarks/panel.py --data iris wine breast_cancer digits --C 0.01 1 100
SOFTMAX_DATA=FOLDER python benchmarks/panel.py --out results.json

Every table is raced raw and standardised. A solver is fitted at rising accuracy, in a process of
its own that is ended when it takes much longer than ours. Peers are run with one BLAS thread and
with all, and the faster run counts; ours is run as it comes. The minimum f* of a problem is the
lowest objective that anyone found; the time to a gap is that of a solver's cheapest fit that is
within it.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import sys
import time
import warnings
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import geometric_mean, median

N_THREADS = os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
os.environ.setdefault("OPENBLAS_NUM_THREADS", N_THREADS)

import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402
from benchopt.benchmark import Benchmark, _check_patterns  # noqa: E402
from benchopt.utils.parametrized_name_mixin import product_param  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

GAPS = (1e-4, 1e-6)
SCALINGS = ("raw", "standardised")
OURS = "sklearn_softmax"
AS_IT_COMES = "defaults"
# A solver may take so many times as long as ours, and at least so many seconds.
PATIENCE, LEAST_LIMIT = 10, 5.0
# A fit is repeated until this many seconds have passed, and three times if it is not long.
REPEAT_SECONDS, LONG_SECONDS = 0.3, 5.0
# A callback's solver ends when its objective falls by less than this, relatively.
LEAST_DECREASE = 1e-9
PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "scikit-learn-intelex", "cyanure", "torch")


class Points:
    """The callback of a solver: its time, without that of looking at it, and its objective."""

    def __init__(self, solver, objective, send):
        self._look = lambda: objective.evaluate_result(**solver.get_result())["value"]
        self._send = send
        self._seconds, self._start, self._value = 0.0, None, float("inf")

    def __call__(self):
        now, before = time.perf_counter(), self._value
        if self._start is not None:
            self._seconds += now - self._start
            self._value = self._look()
            self._send((self._seconds, self._value, False))
        self._start = time.perf_counter()
        return before == float("inf") or before - self._value > LEAST_DECREASE * before


def measure(solver, objective, send):
    """Send (seconds, objective, warned) for each fit of a solver, from rough to exact."""
    solver.set_objective(**objective.get_objective())
    solver.warm_up()
    if solver.sampling_strategy == "callback":
        solver.run(Points(solver, objective, send))
        return
    for tolerance in solver.tolerances:
        seconds = []
        while sum(seconds) < (REPEAT_SECONDS if len(seconds) >= 3 else LONG_SECONDS):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                start = time.perf_counter()
                solver.run(tolerance)
                seconds.append(time.perf_counter() - start)
            if len(seconds) == 1:  # tell now: the repeats may not be waited for
                warned = any("ConvergenceWarning" in w.category.__name__ for w in caught)
                value = objective.evaluate_result(**solver.get_result())["value"]
                send((seconds[0], value, warned))
        send((median(seconds), value, warned))


@contextmanager
def thread_limit(n_threads):
    """Limit the threads of BLAS, OpenMP and PyTorch; None leaves them as they are."""
    torch = sys.modules.get("torch")
    if torch is not None and n_threads is not None:
        torch.set_num_threads(n_threads)
    with threadpool_limits(n_threads):
        yield


def run_at_best(solver, objective, limit):
    """Measure a peer with one thread and with all; all its points count."""
    runs = [run_apart(solver, objective, limit, n_threads) for n_threads in (1, None)]
    return {
        "points": [point for run in runs for point in run["points"]],
        "reason": runs[-1]["reason"],
        "unfinished": min(run["unfinished"] for run in runs),
    }


def run_apart(solver, objective, limit, n_threads=None):
    """Measure a solver in another process.

    Returns its points, why it ended, and for how many seconds its last fit had gone on then.
    """
    context = multiprocessing.get_context("fork")  # the data need not be copied
    receiver, sender = context.Pipe(duplex=False)

    def work():
        try:
            with thread_limit(n_threads):
                measure(solver, objective, sender.send)
            sender.send("end")
        except Exception as error:
            sender.send(f"{type(error).__name__}: {str(error)[:100]}")

    process = context.Process(target=work)
    process.start()
    points, told, deadline = [], time.monotonic(), time.monotonic() + limit
    reason = f"ended after {limit:.0f} s"
    while receiver.poll(max(0.0, deadline - time.monotonic())):
        message = receiver.recv()
        if isinstance(message, str):
            reason, told = message, np.inf
            break
        points.append(message)
        told = time.monotonic()
    process.kill()
    process.join()
    return {"points": points, "reason": reason, "unfinished": max(0.0, deadline - told)}


def time_to(points, value):
    """Return the seconds of the cheapest fit that is low enough, or None."""
    return min((seconds for seconds, reached, _ in points if reached <= value), default=None)


def standardised(data):
    """Return a table with features of mean 0 and variance 1; None for sparse ones."""
    if sp.issparse(data["X"]):
        return None
    return {**data, "X": StandardScaler().fit_transform(np.asarray(data["X"], dtype=float))}


def run_problem(name, data, C, solvers, limit):
    """Measure all solvers on a problem; return what they did."""
    objective_class = BENCHMARK.get_benchmark_objective()
    objective = objective_class.get_instance(C=C)
    objective.set_data(**data)
    problem = {
        "data": name,
        "C": C,
        "shape": [*objective.X.shape, len(objective.classes)],
        "dtype": str(objective.X.dtype),
        "solvers": {},
    }
    allowed = limit
    for solver in solvers:
        run = run_apart if solver.name.startswith(OURS) else run_at_best
        found = run(solver, objective, allowed)
        problem["solvers"][str(solver)] = found
        if solver.name == OURS and found["points"]:
            allowed = min(limit, max(LEAST_LIMIT, PATIENCE * found["points"][-1][0]))
    return problem


def best_value(problem):
    return min(p[1] for solver in problem["solvers"].values() for p in solver["points"])


def print_problem(problem):
    """Print a problem's table: the seconds to each gap, and the ratio to ours."""
    best = best_value(problem)
    shape = " x ".join(str(size) for size in problem["shape"][:2])
    print(
        f"\n{problem['data']}: {shape}, {problem['shape'][2]} classes, {problem['dtype']}, "
        f"C={problem['C']:g}, f* = {best:.8g}"
    )
    own = problem["solvers"].get(OURS, {"points": []})["points"]
    for name, solver in problem["solvers"].items():
        cells = []
        for gap in GAPS:
            seconds = time_to(solver["points"], best * (1 + gap))
            ours = time_to(own, best * (1 + gap))
            cell = "-" if seconds is None else f"{seconds:.4f}"
            ratio = f"{seconds / ours:.1f}x" if seconds and ours else ""
            cells.append(f"{cell:>10} {ratio:>7}")
        last = "no point"
        if solver["points"]:
            seconds, value, warned = solver["points"][-1]
            last = f"last {seconds:.3f} s, gap {value / best - 1:.0e}" + ", warned" * warned
        reason = "" if solver["reason"] == "end" else f"; {solver['reason']}"
        print(f"  {name:34}{''.join(cells)}  {last}{reason}", flush=True)


def ratios(problems, is_peer, gap):
    """Return for each problem the best peer's seconds over ours, and whether it got there.

    Where none got there, the seconds are the least that it can have taken: those of a fit that
    was not accurate enough, or for how long one had gone on when it was ended.
    """
    found = {}
    for problem in problems:
        target = best_value(problem) * (1 + gap)
        ours = time_to(problem["solvers"][OURS]["points"], target)
        peers = [solver for name, solver in problem["solvers"].items() if is_peer(name)]
        times = [time_to(peer["points"], target) for peer in peers]
        reached = [seconds for seconds in times if seconds]
        unfinished = [
            max(peer["unfinished"], *[seconds for seconds, _, _ in peer["points"]], 0.0)
            for peer in peers
            if peer["reason"].startswith("ended")
        ]
        if ours is None:
            ratio = 0.0
        elif reached:
            ratio = min(reached) / ours
        else:
            ratio = min(unfinished, default=np.inf) / ours
        found[f"{problem['data']} C={problem['C']:g}"] = ratio, bool(reached)
    return found


def is_scikit_learn(name):
    return name.startswith("scikit-learn[")


def is_other_peer(name):
    return not (name.startswith(OURS) or is_scikit_learn(name) or AS_IT_COMES in name)


def print_summary(problems):
    """Print the ratios' geometric means and the least of them."""
    groups = {
        "scikit-learn's best solver": is_scikit_learn,
        "the best other peer": is_other_peer,
    }
    for title, is_peer in groups.items():
        for gap in GAPS:
            found = ratios(problems, is_peer, gap)
            missed = [key for key, (ratio, _) in found.items() if ratio == 0]
            measured = {k: v for k, v in found.items() if 0 < v[0] < np.inf}
            if not measured:
                continue
            n_reached = sum(reached for _, reached in measured.values())
            least = min(measured, key=lambda key: measured[key][0])
            print(
                f"{title}, gap {gap:.0e}: at least "
                f"{geometric_mean(ratio for ratio, _ in measured.values()):.1f}x in the geometric "
                f"mean of {len(measured)} problems, {n_reached} of which it solved; least "
                f"{measured[least][0]:.2f}x ({least}); not solved by us: {missed or 'none'}"
            )


def versions():
    found = {"python": platform.python_version(), "threads": N_THREADS}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def selected(classes, patterns, kind):
    """Return instances of benchopt's classes that can be had, for all their parameters' values."""
    instances = [
        cls.get_instance(**values)
        for cls, parameters in _check_patterns(classes, patterns, name_type=kind)
        if cls.is_installed()
        for values in product_param(parameters)
    ]
    # (Parameters that a pattern fixes are still spread over the values of a group.)
    return list({str(instance): instance for instance in instances}.values())


BENCHMARK = Benchmark(Path(__file__).parent)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", help="as for benchopt run -d; default: all")
    parser.add_argument("--solvers", nargs="+", help="as for benchopt run -s; default: all")
    parser.add_argument("--C", nargs="+", type=float, default=[0.01, 1.0, 100.0])
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for any solver")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    parser.add_argument("--scaling", nargs="+", default=SCALINGS, choices=SCALINGS)
    arguments = parser.parse_args()
    print(versions())
    solvers = selected(BENCHMARK.get_solvers(), arguments.solvers, "solver")
    solvers.sort(key=lambda solver: solver.name != OURS)  # ours first: it sets the limit
    problems = []
    for dataset in selected(BENCHMARK.get_datasets(), arguments.data, "dataset"):
        try:
            raw = dataset.get_data()
        except FileNotFoundError as error:
            print(f"\n{dataset}: left out. {error}")
            continue
        for scaling, C in itertools.product(arguments.scaling, arguments.C):
            data = raw if scaling == "raw" else standardised(raw)
            if data is None:
                continue
            name = str(dataset) if scaling == "raw" else f"{dataset} standardised"
            problem = run_problem(name, data, C, solvers, arguments.limit)
            if not any(solver["points"] for solver in problem["solvers"].values()):
                print(f"\n{name}, C={C:g}: left out. No solver ended in {arguments.limit:g} s.")
                continue
            problems.append(problem)
            print_problem(problem)
            if arguments.out:
                arguments.out.write_text(
                    json.dumps({"versions": versions(), "problems": problems}, indent=1)
                )
    print()
    for scaling in SCALINGS:
        chosen = [p for p in problems if p["data"].endswith("standardised") == (scaling != "raw")]
        if chosen:
            print(f"{scaling} tables")
            print_summary(chosen)


if __name__ == "__main__":
    main()
