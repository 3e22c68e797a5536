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
[profiles.NAME] with url, entra (the application as api://CLIENT-ID; `az login` or a managed
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
    rich_markup_mode=None,  # its imports take as long as everything else
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


_COMMANDS = (
    (look.status, look.status.__doc__),
    (look.devices, look.devices.__doc__),
    (look.device, look.device.__doc__),
    (look.sites, look.sites.__doc__),
    (bulk.plan, bulk.PLAN),
    (mend.doctor, mend.doctor.__doc__),
    (mend.audit, mend.audit.__doc__),
    (bulk.onboard, bulk.ONBOARD),
    (change.rotate, change.rotate.__doc__),
    (change.move, change.move.__doc__),
    (change.revoke, change.revoke.__doc__),
    (change.adopt, change.adopt.__doc__),
    (mend.rebuild, mend.rebuild.__doc__),
)
for _command, _text in _COMMANDS:
    app.command(help=_help(_text or ""))(_command)
app.command(name="open", help=_help(mend.open_page.__doc__ or ""))(mend.open_page)
app.add_typer(revokes.app, name="revokes")
app.add_typer(poison.app, name="poison")
app.add_typer(sweep.app, name="sweep")


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
