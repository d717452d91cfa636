"""By hand: see the package."""

import argparse
import logging
import os
import sys
import time

from sfss.compiled import PURE_VARIABLE


def main() -> int:
    parser = argparse.ArgumentParser(description="Histories of gateways over simulated Beansdb nodes.")
    parser.add_argument("--histories", type=int, default=100, help="(default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of the first (default: 1)")
    parser.add_argument("--mutant", help="a rule to switch off (see mutants.py): ends when that is seen")
    parser.add_argument(
        "--plan-of", metavar="MUTANT", help="the plan by which this mutant is caught, and no mutant"
    )
    parser.add_argument("--plan", choices=["purges", "moves"], help="with these, and what goes with them")
    options = parser.parse_args()
    if (options.mutant or options.plan_of) and not os.environ.get(PURE_VARIABLE):
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulated", *sys.argv[1:]],
            {**os.environ, PURE_VARIABLE: "1"},
        )
    from tests.simulated.histories import Plan, play

    logging.disable(logging.CRITICAL)
    plan, scenario = Plan(), play
    if options.plan:
        from tests.simulated import moves, mutants

        plan, scenario = {"purges": (mutants.PURGES, play), "moves": (moves.MOVES, moves.play)}[options.plan]
    elif options.mutant or options.plan_of:
        from tests.simulated.mutants import MUTANTS

        name = options.mutant or options.plan_of
        if name not in MUTANTS:
            print(f"{name} is not one of {', '.join(MUTANTS)}")
            return 1
        mutant = MUTANTS[name]
        plan, scenario = mutant.plan, mutant.scenario
        if options.mutant:
            mutant.switch_off()
        elif plan.keeps_index:
            plan.keeps_index = False
    began, wrong, operations, succeeded, troubles, purges = time.time(), 0, 0, 0, 0, 0
    for seed in range(options.seed, options.seed + options.histories):
        verdict = scenario(seed, plan)
        operations += verdict.operations
        succeeded += verdict.succeeded
        troubles += verdict.troubles
        purges += verdict.purges
        if verdict.wrong:
            wrong += 1
            print(f"seed {seed}: {'; '.join(verdict.wrong[:3])[:400]}", flush=True)
            if options.mutant:
                break
    print(
        f"{seed - options.seed + 1} histories, {operations} operations ({succeeded} succeeded), {troubles} troubles,"
        f" {purges} purges, {wrong} wrong, {time.time() - began:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
