"""The folder `.local` of the checkout: what a running stack leaves for a shell to find."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".local"


def write_ca(name: str, ca_pem: str) -> Path:
    """The stack's certificate authority as a file."""
    return _write(FOLDER / f"{name}.pem", ca_pem)


def write_environment(values: Mapping[str, str]) -> Path:
    """`azure.env`, to be sourced by a shell. It holds keys, and is readable by its owner only."""
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    return _write(FOLDER / "azure.env", "".join(lines))


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return path
