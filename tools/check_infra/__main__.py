"""`python -m tools.check_infra`: prints every finding; exits with 1 if there is one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tools.check_infra.bicep import Finding, read_folder, syntax_errors
from tools.check_infra.monitoring import check_monitoring
from tools.check_infra.roles import check_roles
from tools.check_infra.security import check_security
from tools.check_infra.settings import check_parameters, check_policy, check_settings
from tools.check_infra.shared_names import check_shared_names

REPOSITORY = Path(__file__).parents[2]


def check_folder(folder: Path) -> list[Finding]:
    """The findings in a folder of templates, sorted. Syntax errors hide all others."""
    return sorted(set(_findings(folder)))


def _findings(folder: Path) -> Iterator[Finding]:
    files = read_folder(folder)
    broken = [finding for file in files.values() for finding in syntax_errors(file)]
    if broken:
        yield from broken
        return
    yield from check_parameters(files, folder)
    yield from check_settings(files)
    yield from check_policy(files)
    yield from check_shared_names(files)
    yield from check_roles(files, folder)
    yield from check_security(files)
    yield from check_monitoring(folder)


def main() -> int:
    """Prints the findings and gives the exit code."""
    findings = check_folder(REPOSITORY / "infra")
    for finding in findings:
        print(f"infra/{finding}")  # noqa: T201 - a command's output
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
