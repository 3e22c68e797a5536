"""`python -m tests.lifetime`: the machine for as long as one likes, against any firstpull.

Exits with 0 where all promises held, 1 where one was broken, 2 where it could not be told.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from rich.console import Console

_CONSOLE = Console(highlight=False, soft_wrap=True, markup=False)


def main() -> int:
    """Run, and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.lifetime", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="courses of events")
    parser.add_argument("--steps", type=int, default=30, help="steps of each, at most")
    parser.add_argument("--seed", type=int, help="of the examples; another one each time")
    parser.add_argument("--firstpull", type=Path, help="folder with the package to be tested")
    parser.add_argument("--until-red", action="store_true", help="stop at the first failure")
    arguments = parser.parse_args()
    if arguments.firstpull is not None:
        sys.path.insert(0, str(arguments.firstpull))
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    # Only now it is settled which firstpull is imported.
    from hypothesis import seed  # noqa: PLC0415 - see above
    from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415 - see above

    import firstpull  # noqa: PLC0415 - see above
    from tests.lifetime.machine import Lifetime  # noqa: PLC0415 - see above
    from tests.lifetime.scenario import thorough, until_red  # noqa: PLC0415 - see above

    found = Path(firstpull.__file__).resolve()
    if arguments.firstpull and not found.is_relative_to(arguments.firstpull.resolve()):
        _CONSOLE.print(f"{found} was imported instead")
        return 2
    scenario = (
        until_red(examples=arguments.examples, steps=arguments.steps)
        if arguments.until_red
        else thorough(examples=arguments.examples, steps=arguments.steps)
    )
    machine = Lifetime if arguments.seed is None else seed(arguments.seed)(Lifetime)
    try:
        run_state_machine_as_test(machine, settings=scenario)
    except AssertionError as broken:
        _CONSOLE.print(str(broken))
        for note in getattr(broken, "__notes__", ()):
            _CONSOLE.print(note)
        return 1
    except Exception:
        _CONSOLE.print(traceback.format_exc())
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
