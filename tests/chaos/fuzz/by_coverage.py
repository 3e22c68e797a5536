"""`python -m tests.chaos.fuzz.by_coverage TARGET …`: Atheris, which grows input by coverage.

The arguments after the target are libFuzzer's. Exits with 77 at a defect.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["firstpull"]):
    from tests.chaos.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz one target until its time is over."""
    name, *options = sys.argv[1:]
    target = TARGETS[name]

    def one(data: bytes) -> None:
        target.check(data)

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
