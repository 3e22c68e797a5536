"""`python -m tools.check_kql`: prints every finding; exits with 1 if there is one."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.check_kql import check_queries, read_queries


def main() -> int:
    """Prints the findings and gives the exit code."""
    findings = check_queries(dict(read_queries(Path(__file__).parents[2])))
    for finding in findings:
        print(finding)  # noqa: T201 - a command's output
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
