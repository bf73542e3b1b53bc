"""Print results of panel.py as a reStructuredText table, and their summary.

python benchmarks/report.py results.json more.json > table.rst
"""

import argparse
import json
from pathlib import Path

from panel import (
    AS_IT_COMES,
    GAPS,
    OURS,
    best_value,
    is_other_peer,
    is_scikit_learn,
    print_summary,
    time_to,
)

HEADER = (
    "data",
    "C",
    "ours, seconds",
    "best solver of scikit-learn",
    "best other peer",
    "LogisticRegression()",
    "ours as it comes",
)


def fastest(problem, is_peer, gap):
    """Return the name and the seconds of the first to a gap, or None."""
    target = best_value(problem) * (1 + gap)
    times = {
        name: time_to(solver["points"], target)
        for name, solver in problem["solvers"].items()
        if is_peer(name)
    }
    times = {name: seconds for name, seconds in times.items() if seconds}
    return min(times.items(), key=lambda item: item[1], default=None)


def against(problem, is_peer):
    """Return a cell: who is fastest at the wider gap, and how many times our time at each."""
    own = [fastest(problem, lambda name: name == OURS, gap) for gap in GAPS]
    peers = [fastest(problem, is_peer, gap) for gap in GAPS]
    if not any(peers):
        return "none got there"
    name = next(peer[0] for peer in peers if peer)
    name = name.removeprefix("scikit-learn[solver=").removesuffix("]")
    ratios = [
        f"{peer[1] / ours[1]:.1f}x" if peer and ours else "-"
        for peer, ours in zip(peers, own, strict=True)
    ]
    return f"{name}, {' / '.join(ratios)}"


def as_it_comes(problem, name):
    """Return a cell: the seconds of an estimator at its defaults, and where it ended."""
    solver = problem["solvers"].get(f"{name} {AS_IT_COMES}")
    if solver is None or not solver["points"]:
        return "not run" if solver is None else "not finished"
    points = solver["points"]
    seconds, value, warned = points[-1]
    gap = max(value / best_value(problem) - 1, 0.0)
    return f"{seconds:.2g} s, {gap:.0e}" + " (warned)" * warned


def row(problem):
    rows, columns, n_classes = problem["shape"]
    own = [fastest(problem, lambda name: name == OURS, gap) for gap in GAPS]
    return (
        f"{problem['data']} ({rows:,} x {columns:,}, {n_classes})",
        f"{problem['C']:g}",
        " / ".join(f"{time[1]:.2g}" if time else "-" for time in own),
        against(problem, is_scikit_learn),
        against(problem, is_other_peer),
        as_it_comes(problem, "scikit-learn"),
        as_it_comes(problem, OURS),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path)
    arguments = parser.parse_args()
    read = [json.loads(path.read_text()) for path in arguments.results]
    problems = [problem for results in read for problem in results["problems"]]
    print(".. list-table::\n   :header-rows: 1\n")
    for cells in [HEADER, *map(row, problems)]:
        print("   * - " + "\n     - ".join(cells))
    print()
    print_summary(problems)
    print(read[0]["versions"])


if __name__ == "__main__":
    main()
