"""Thousands of hard problems by one command: ``python -m tests.gauntlet --cases 5000``."""

import argparse
import re
import time
from collections import Counter

from .judge import judge, run
from .problems import problem
from .streams import run_and_judge, stream


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.gauntlet", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--solver", choices=["lbfgs", "sgd", "stream"], default="lbfgs")
    arguments = parser.parse_args()
    tags, failures, reasons, slow = Counter(), Counter(), Counter(), (0.0, None)
    needless = Counter()
    for seed in range(arguments.first, arguments.first + arguments.cases):
        start = time.perf_counter()
        case, fit, verdict = judged(seed, arguments.solver)
        seconds = time.perf_counter() - start
        slow = max(slow, (seconds, seed), key=lambda pair: pair[0])
        tags.update(case.tags)
        reason = (
            re.split(r":| \(", verdict.reason)[0] if verdict.fails else f"passes: {verdict.reason}"
        )
        reasons[reason] += 1
        if verdict.needless:
            needless["plain" if case.is_plain else "hard"] += 1
        if verdict.fails:
            failures.update(case.tags)
            print(f"seed {seed}: {verdict}; n_iter {fit.n_iter}; {case.description}", flush=True)
    n_failures = sum(n for reason, n in reasons.items() if not reason.startswith("passes"))
    print(f"\n{arguments.cases} cases, {n_failures} failures; slowest: seed {slow[1]}")
    for reason, count in reasons.most_common():
        print(f"{count:7} {reason}")
    print(f"{needless.total():7} warnings at the minimum ({dict(needless)})")
    print("\nfailures by what is in a problem (failures / cases)")
    for tag, count in sorted(tags.items(), key=lambda item: -failures[item[0]] / item[1]):
        print(f"{failures[tag]:7} / {count:5} {tag}")


def judged(seed, solver):
    """Return the problem or stream of a seed, what came of it, and the verdict."""
    if solver == "stream":
        case = stream(seed)
        return case, *run_and_judge(case)
    case = problem(seed, solver)
    fit = run(case)
    return case, fit, judge(case, fit)


if __name__ == "__main__":
    main()
