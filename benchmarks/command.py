"""What the commands of all figures have in common, and programs that they start."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCAL = ROOT / ".local" / "bench"
"""What runs leave behind that is in no repository."""


def parser_of(figure: str) -> argparse.ArgumentParser:
    """The parser of a figure's command, with `--json`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {figure}")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def print_json(figures: object, *, for_programs: bool) -> None:
    """Print figures: on one line for programs, else for people."""
    sys.stdout.write(f"{json.dumps(figures, indent=None if for_programs else 2)}\n")


async def run_program(
    *command: str, environment: Mapping[str, str], fails: type[Exception], name: str
) -> str:
    """What a program prints. It has no input, and ends with its caller.

    Raises `fails`, with the name and what it says of its failure.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise fails(f"{name}: {errors.decode()}")
    return output.decode()
