"""Options that commands share, and what they do around their work."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from firstpull_cli.api import Api

ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile", "-p", metavar="NAME", help="Which firstpull to call.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")]
Hub = Annotated[
    str | None,
    typer.Option(metavar="HOST", help="The hub's host name; default: the policy's first."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and why.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end.")]
Timeout = Annotated[
    float, typer.Option(min=0.0, metavar="SECONDS", help="How long `--wait` waits.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def open_api(profile: str | None) -> Api:
    """The API of the chosen profile. Raises CliError."""
    from firstpull_cli.api import Api
    from firstpull_cli.output import pausing
    from firstpull_cli.profiles import choose_profile

    return Api(choose_profile(profile), on_pause=pausing)


def confirm(
    question: str, *, yes: bool, advice: str = "Give --yes to do it without a question."
) -> None:
    """Ask, unless told not to. Raises CliError where nobody can answer, Abort after a no."""
    from firstpull_cli.errors import CliError, Exit

    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("nobody is there to be asked", advice=advice, status=Exit.USAGE)
    typer.confirm(question, abort=True, err=True)
