"""`python -m tools.check_infra`: all checks; 1 where one has found something."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.check_infra.app_settings import check_settings
from tools.check_infra.bicep import BicepFile, read_folder
from tools.check_infra.code_names import check_code_names
from tools.check_infra.findings import Finding
from tools.check_infra.loaded_files import check_loaded_files
from tools.check_infra.modules import check_modules
from tools.check_infra.names import check_names
from tools.check_infra.parameters import check_parameters
from tools.check_infra.policy import check_policy
from tools.check_infra.posture import check_posture
from tools.check_infra.resource_names import check_resource_names, main_scope
from tools.check_infra.roles import check_roles
from tools.check_infra.secret_hygiene import check_secrets
from tools.check_infra.syntax import check_syntax
from tools.check_infra.values import NotKnown

REPOSITORY = Path(__file__).parents[2]


def check_folder(folder: Path, *, repository: Path = REPOSITORY) -> list[Finding]:
    """What is wrong in a folder of templates.

    Where syntax is wrong only that is told, and names and calls before what they lead to.
    """
    files = read_folder(folder)
    findings = list(check_syntax(files))
    for stage in (_how_it_hangs_together, _what_it_amounts_to):
        if not findings:
            findings = list(stage(files, folder, repository))
    return sorted(set(findings))


def _how_it_hangs_together(
    files: Mapping[str, BicepFile], folder: Path, _repository: Path
) -> Iterator[Finding]:
    yield from check_names(files)
    yield from check_loaded_files(files, folder)
    yield from check_modules(files)
    yield from check_parameters(files, folder)
    yield from check_secrets(files)


def _what_it_amounts_to(
    files: Mapping[str, BicepFile], folder: Path, repository: Path
) -> Iterator[Finding]:
    yield from check_settings(files)
    yield from check_posture(files)
    yield from check_roles(files, folder)
    try:
        yield from check_resource_names(files, folder)
        longest = main_scope(files, folder)
        yield from check_policy(files, longest)
        yield from check_code_names(files, longest, repository)
    except NotKnown as reason:
        yield Finding("main.bicep", 1, f"a name cannot be computed, for {reason}")


def main() -> int:
    """Print what is wrong; the exit code."""
    findings = check_folder(REPOSITORY / "infra")
    for finding in findings:
        print(f"infra/{finding}")  # noqa: T201 - a command's output
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
