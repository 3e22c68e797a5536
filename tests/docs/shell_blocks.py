"""The commands in the documents' blocks for a shell."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *(ROOT / name / "README.md" for name in ("cli", "device_agent", "local_azure", "contract")),
    )
    if path.exists()
)
_BLOCK = re.compile(r"^( *)```(?:sh|bash|shell|console)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One command of a document: what a person would paste, with its continued lines."""

    document: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}: {self.text.splitlines()[0]}"


def commands() -> list[Command]:
    """All commands of all documents, in their order."""
    return [
        Command(str(page.relative_to(ROOT)), text)
        for page in PAGES
        for indent, body in _BLOCK.findall(page.read_text())
        for text in _split(_without_prompt(body, indent))
    ]


def _without_prompt(body: str, indent: str) -> list[str]:
    """The lines of a block; of one with prompts, those that a person types."""
    lines = [line.removeprefix(indent) for line in body.splitlines()]
    if not any(line.startswith("$ ") for line in lines):
        return lines
    typed: list[str] = []
    for line in lines:
        if line.startswith("$ "):
            typed.append(line.removeprefix("$ "))
        elif typed and typed[-1].endswith("\\"):
            typed.append(line)
    return typed


def _split(lines: list[str]) -> Iterator[str]:
    """Lines put together until they are whole for bash."""
    held: list[str] = []
    for line in lines:
        if not held and (not line.strip() or line.startswith("#")):
            continue
        held.append(line)
        text = "\n".join(held)
        if not line.rstrip().endswith("\\") and _is_whole(text):
            yield text
            held = []
    assert not held, f"bash does not take {held}"


def _is_whole(text: str) -> bool:
    checked = subprocess.run(  # noqa: S603 - parses, and runs nothing
        ["/bin/bash", "-n", "-c", text], capture_output=True, check=False
    )
    return checked.returncode == 0
