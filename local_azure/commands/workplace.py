"""The folder where a running stack leaves what a shell needs to find it."""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path


class WorkplaceInUse(Exception):
    """Another stack has left its files there, and runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"Another local Azure runs and has its files in {folder}. End it, or let this one have "
            "another folder: --workplace DIR"
        )


_DEFAULT = Path(__file__).parents[2] / ".local"


@dataclass(frozen=True)
class Workplace:
    """`.local` of the checkout, unless a command is told another folder."""

    folder: Path

    @classmethod
    def add_option(cls, parser: argparse.ArgumentParser) -> None:
        """`--workplace DIR`, a workplace in the arguments that are read."""
        parser.add_argument(
            "--workplace",
            type=lambda text: cls(Path(text).resolve()),
            default=cls(_DEFAULT),
            metavar="DIR",
            help=f"the folder for certificates, keys and logs; {_DEFAULT} by default",
        )

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """For one stack at a time: another would write over its files, and remove them.

        Raises WorkplaceInUse. The lock ends with the process, however that ends.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise WorkplaceInUse(self.folder) from None
            yield
        finally:
            os.close(folder)

    def ca(self, name: str, ca_pem: str) -> AbstractContextManager[Path]:
        """The stack's certificate authority as a file, for as long as it is used."""
        return self._kept(f"{name}.pem", ca_pem)

    def environment(self, values: Mapping[str, str]) -> AbstractContextManager[Path]:
        """`azure.env`, to be sourced by a shell, likewise. It holds keys: its owner's only."""
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
        return self._kept("azure.env", "".join(lines))

    def start_log(self, name: str) -> Path:
        """An empty file for what a command's processes say."""
        return self._write(f"{name}.log", "")

    @contextmanager
    def _kept(self, name: str, text: str) -> Iterator[Path]:
        path = self._write(name, text)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path
