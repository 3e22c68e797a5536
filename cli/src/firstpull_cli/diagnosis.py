"""What `firstpull doctor` shows: what is wrong, why it matters, and the command that mends it."""

from __future__ import annotations

from rich.text import Text

from firstpull_cli import output
from firstpull_cli.api import Document

_STYLES = {"error": "bold red", "warning": "yellow"}


def show(found: Document) -> None:
    """Write a diagnosis for a person."""
    console = output.console()
    for finding in found["findings"]:
        heading = Text(output.clean(finding["name"]), style=_STYLES.get(finding["severity"], ""))
        console.print(heading + Text(f"  {output.clean(finding['subject'])}"))
        console.print(Text(f"  {output.clean(finding['what'])}"))
        console.print(Text(f"  {output.clean(finding['why'])}", style="dim"))
        _show_command(finding.get("command"))
        console.print()
    if not found["findings"]:
        console.print(Text("Nothing is wrong.", style="green"))
        console.print()
    for one in found["notChecked"]:
        line = f"Not checked: {one['subject']}. {one['why']}"
        console.print(Text(output.clean(line), style="dim"))
        _show_command(one.get("command"))


def _show_command(command: str | None) -> None:
    if command is not None:
        # On a line of its own and never folded: it is copied from there.
        output.console().print(Text(f"  $ {output.clean(command)}", style="cyan"), soft_wrap=True)
