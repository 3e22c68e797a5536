"""`python -m tests.lifetime`: the state machine, for as many scenarios as one likes.

Exits with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import sys

from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test
from rich.console import Console

from tests.lifetime.machine import Lifetime
from tests.lifetime.profiles import thorough


def main() -> int:
    """Run, and show the shortest scenario that breaks a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.lifetime", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="scenarios")
    parser.add_argument("--steps", type=int, default=30, help="steps of each, at most")
    parser.add_argument("--seed", type=int, help="of the scenarios; another one each time")
    arguments = parser.parse_args()
    machine = Lifetime if arguments.seed is None else seed(arguments.seed)(Lifetime)
    profile = thorough(examples=arguments.examples, steps=arguments.steps)
    try:
        run_state_machine_as_test(machine, settings=profile)
    except AssertionError as broken:
        console = Console(highlight=False, soft_wrap=True, markup=False)
        console.print("\n".join((str(broken), *getattr(broken, "__notes__", ()))))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
