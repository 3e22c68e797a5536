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
    "full_registry",
    "lifecycle",
    "sweeps",
    "host_kills",
)


def main() -> int:
    """Run a figure. Its module is imported when the process trusts the local Azure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figure", choices=_FIGURES, nargs="?", default="onboarding")
    parsed, rest = parser.parse_known_args()
    with trusted_authority() as trust:
        module = importlib.import_module(f"benchmarks.{parsed.figure}")
        result: int = module.main(trust, rest)
        return result


if __name__ == "__main__":
    sys.exit(main())
