"""The command `firstpull`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from firstpull_cli import __version__
from firstpull_cli.commands import bulk, change, look, mend, poison, revokes, sweep
from firstpull_cli.errors import CliError

_EPILOG = """
Which firstpull: `--profile` or FIRSTPULL_PROFILE; else FIRSTPULL_URL with FIRSTPULL_KEY and perhaps
FIRSTPULL_TOKEN; else .local/azure.env of a running `make up`, here or above (the profile `local`);
else `default` of the config file, ~/.config/firstpull/config.toml or FIRSTPULL_CONFIG. In it:
\\[profiles.NAME] with url, entra (the application as api://CLIENT-ID; `az login` or a managed
identity gives the token), key_command (prints the function key) or key_variable,
master_key_command. Never a secret.

Exit status: 0 done; 1 refused, blocked or failed; 2 wrong usage; 3 not known; 4 no permission; 5
not reachable; 6 --wait was over; 7 plan --exit-code has changes; 130 Ctrl-C.
"""


def _help(text: str) -> str:
    """A help whose paragraphs are as long as the terminal is wide."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


app = typer.Typer(
    name="firstpull",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_help(_EPILOG),
)


def _version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        typer.echo(f"firstpull-cli {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Operate firstpull: devices and their registry credentials, over its HTTP API."""


_LOOK, _CHANGE = "Look", "Change"
_COMMANDS = (
    (_LOOK, look.status, look.status.__doc__),
    (_LOOK, look.devices, look.devices.__doc__),
    (_LOOK, look.device, look.device.__doc__),
    (_LOOK, look.sites, look.sites.__doc__),
    (_LOOK, bulk.plan, bulk.PLAN),
    (_LOOK, mend.doctor, mend.doctor.__doc__),
    (_LOOK, mend.audit, mend.audit.__doc__),
    (_CHANGE, bulk.onboard, bulk.ONBOARD),
    (_CHANGE, change.rotate, change.rotate.__doc__),
    (_CHANGE, change.move, change.move.__doc__),
    (_CHANGE, change.revoke, change.revoke.__doc__),
    (_CHANGE, change.adopt, change.adopt.__doc__),
    (_CHANGE, mend.rebuild, mend.rebuild.__doc__),
)
for _panel, _command, _text in _COMMANDS:
    app.command(rich_help_panel=_panel, help=_help(_text or ""))(_command)
app.command(name="open", rich_help_panel=_LOOK, help=_help(mend.open_page.__doc__ or ""))(
    mend.open_page
)
app.add_typer(revokes.app, name="revokes", rich_help_panel=_CHANGE)
app.add_typer(poison.app, name="poison", rich_help_panel=_CHANGE)
app.add_typer(sweep.app, name="sweep", rich_help_panel=_CHANGE)


def main() -> None:
    """Run the command. Exits with a status of `Exit`."""
    try:
        app()
    except CliError as error:
        sys.stderr.write(f"firstpull: {_printable(error.message)}\n")
        if error.advice:
            sys.stderr.write(f"  → {_printable(error.advice)}\n")
        sys.exit(error.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # As `firstpull devices | head`. Python would complain while it closes the stream.
        sys.stderr.close()
        sys.exit(1)


def _printable(text: str) -> str:
    """A text without what would steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
