"""`python -m benchmarks FIGURE`: one figure, as JSON with `--json`. Without one, `make bench`."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.trust import trusted_authority

_FIGURES = (
    "onboarding",
    "alternatives",
    "at_rest",
    "cold_start",
    "fleet_page",
    "full_registry",
    "lifecycle",
    "sweeps",
    "waterfall",
    "host_kills",
)
_ALL = "all"


def main() -> int:
    """Run a figure. Its module is imported when the process trusts the local Azure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figure", choices=(*_FIGURES, _ALL), nargs="?", default=_ALL)
    parsed, rest = parser.parse_known_args()
    result: int
    if parsed.figure == _ALL:
        result = importlib.import_module("benchmarks.bench").main(rest)
        return result
    with trusted_authority() as trust:
        result = importlib.import_module(f"benchmarks.{parsed.figure}").main(trust, rest)
        return result


if __name__ == "__main__":
    sys.exit(main())
