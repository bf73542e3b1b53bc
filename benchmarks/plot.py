"""Draw time against suboptimality from the results of panel.py.

python benchmarks/plot.py results.json --problems "digits C=1" "otto C=1" --out curves.png
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
from panel import OURS, best_value

LEAST_GAP = 1e-9


def frontier(points):
    """Return the points that no earlier one is below: seconds and objectives."""
    kept = []
    for seconds, value, _ in sorted(points):
        if not kept or value < kept[-1][1]:
            kept.append((seconds, value))
    return zip(*kept, strict=True)


def draw(axes, problem):
    """Draw one problem: a line of its own colour for each solver, ours thick."""
    best = best_value(problem)
    for k, (name, solver) in enumerate(problem["solvers"].items()):
        seconds, values = frontier(solver["points"]) if solver["points"] else ((), ())
        gaps = [max(value / best - 1, LEAST_GAP) for value in values]
        width = 3 if name == OURS else 1
        axes.loglog(
            seconds, gaps, color=f"C{k}", marker="o", markersize=3, linewidth=width, label=name
        )
    rows, columns, n_classes = problem["shape"]
    axes.set_title(f"{problem['data']}, C={problem['C']:g}\n{rows:,} x {columns:,} x {n_classes}")
    axes.set_xlabel("seconds")
    axes.xaxis.set_minor_formatter("")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--problems", nargs="+", required=True, help='such as "otto C=1"')
    parser.add_argument("--out", type=Path, default=Path("curves.png"))
    arguments = parser.parse_args()
    problems = {
        f"{problem['data']} C={problem['C']:g}": problem
        for path in arguments.results
        for problem in json.loads(path.read_text())["problems"]
    }
    figure, axes = plt.subplots(
        1, len(arguments.problems), figsize=(4.5 * len(arguments.problems), 4.5), squeeze=False
    )
    for k, name in enumerate(arguments.problems):
        draw(axes[0, k], problems[name])
    axes[0, 0].set_ylabel("objective above its minimum, relative")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, frameon=False)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
