"""The long form: see the package."""

import argparse
import sys

import uvloop

from tests.faults import scenes
from tests.programs import Program, find


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults under load, for as long as you want.")
    parser.add_argument("--requests", type=int, default=1_000_000, help="at least (default: 1000000)")
    parser.add_argument("--faults", type=int, default=100, help="at least (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the faults (default: 1)")
    parser.add_argument(
        "--pause",
        type=float,
        default=0.0,
        help="between two requests of one of 24 clients, seconds (default: 0)",
    )
    parser.add_argument("--scene", choices=["proxies", "beansdb", "embedded"], help="only this one")
    options = parser.parse_args()
    wanted = []
    if options.scene in (None, "proxies"):
        wanted.append(scenes.over_beansdb if find("gobeansproxy") else scenes.over_twemproxies)
    if options.scene in (None, "beansdb"):
        wanted.append(scenes.over_nodes)
    if options.scene in (None, "embedded"):
        wanted.append(scenes.embedded)
    wrong = 0
    try:
        for scene in wanted:
            wrong += uvloop.run(_play(scene, options, len(wanted)))
    finally:
        for program in list(Program.running):
            program.kill()
    return 1 if wrong else 0


async def _play(scene, options: argparse.Namespace, among: int) -> int:
    async with scene() as stage:
        print(f"{scene.__doc__}", flush=True)
        report = await scenes.play(
            stage,
            requests=-(-options.requests // among),
            faults=-(-options.faults // among),
            seed=options.seed,
            pause=options.pause,
        )
    print(report, flush=True)
    for line in report.wrong[:50]:
        print(f"  WRONG: {line}")
    return len(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
