"""Thousands of hard problems by one command: ``python -m tests.gauntlet --cases 5000``."""

import argparse
import re
import sys
from collections import Counter

from threadpoolctl import threadpool_limits

from .judge import judge, run
from .problems import problem
from .streams import run_and_judge, stream

# ("auto" and "lbfgs" are given the same problems.)
SOLVERS = ["auto", "lbfgs", "sgd", "stream"]


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.gauntlet", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--solver", choices=SOLVERS, default="auto")
    parser.add_argument("--needless", action="store_true", help="print needless warnings, too")
    arguments = parser.parse_args()
    summary = Summary()
    for seed in range(arguments.first, arguments.first + arguments.cases):
        case, fit, verdict = judged(seed, arguments.solver)
        summary.add(case, verdict)
        if verdict.fails or (arguments.needless and verdict.needless):
            said = "".join(f"\n    {text}" for text in fit.convergence_warnings[:1])
            details = f"n_iter {fit.n_iter}; {case.description}{said}"
            print(f"seed {seed}: {verdict}; {details}", flush=True)
    print(summary)
    return int(summary.n_failures > 0)


def judged(seed, solver):
    """Return the problem or stream of a seed, what came of it, and the verdict."""
    if solver == "stream":
        case = stream(seed)
        return case, *run_and_judge(case)
    case = problem(seed, "lbfgs" if solver == "auto" else solver)
    case.params["solver"] = solver
    fit = run(case)
    with threadpool_limits(1):  # (the reference's matrices are small: threads would wait)
        return case, fit, judge(case, fit)


class Summary:
    """Counts verdicts, by reason and by what is in a problem."""

    def __init__(self):
        self.reasons, self.tags, self.failed_tags = Counter(), Counter(), Counter()
        self.n_failures = 0
        self.n_needless = Counter()

    def add(self, case, verdict):
        reason = re.split(r":| \(", verdict.reason)[0]  # (without figures)
        self.reasons[f"{'FAILS' if verdict.fails else 'passes'}: {reason}"] += 1
        self.tags.update(case.tags)
        self.n_needless["plain" if case.is_plain else "hard"] += verdict.needless
        if verdict.fails:
            self.n_failures += 1
            self.failed_tags.update(case.tags)

    def __str__(self):
        lines = ["", f"{self.reasons.total()} cases, {self.n_failures} failures"]
        lines += [f"{count:7} {reason}" for reason, count in self.reasons.most_common()]
        lines += [f"{n:7} warnings at the minimum, {kind}" for kind, n in self.n_needless.items()]
        lines += ["", "failures / cases, by what is in a problem"]
        shares = {tag: self.failed_tags[tag] / count for tag, count in self.tags.items()}
        for tag in sorted(shares, key=shares.get, reverse=True):
            lines.append(f"{self.failed_tags[tag]:7} / {self.tags[tag]:5} {tag}")
        return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
