"""The folder where a running stack writes the files for a shell."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path


class WorkplaceInUse(Exception):
    """Another stack uses the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"Another local Azure uses the folder {folder}. End it, or choose another folder: "
            "--workplace DIR"
        )


_DEFAULT = Path(__file__).parents[2] / ".local"


@dataclass(frozen=True)
class Workplace:
    """`.local` of the checkout, or the folder of `--workplace`."""

    folder: Path

    @classmethod
    def add_option(cls, parser: argparse.ArgumentParser) -> None:
        """Add `--workplace DIR`, which parses to a workplace."""
        parser.add_argument(
            "--workplace",
            type=lambda text: cls(Path(text).resolve()),
            default=cls(_DEFAULT),
            metavar="DIR",
            help=f"the folder for certificates, keys and logs; {_DEFAULT} by default",
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder, because two stacks would overwrite each other's files.

        Raises WorkplaceInUse. The lock ends with the process.
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
        """The certificate authority as a file, which is removed on exit."""
        return self._temporary(f"{name}.pem", ca_pem)

    def environment(self, values: Mapping[str, str]) -> AbstractContextManager[Path]:
        """`azure.env` for a shell, which is removed on exit. It contains keys: mode 0600."""
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
        return self._temporary("azure.env", "".join(lines))

    @contextmanager
    def script(self, name: str, text: str) -> Iterator[Path]:
        """A script that can be run, which is removed on exit."""
        with self._temporary(name, text) as path:
            path.chmod(0o700)
            yield path

    def policy(self, document: Mapping[str, object]) -> AbstractContextManager[Path]:
        """The policy in a file while the block runs, to be changed there."""
        return self._temporary("policy.json", f"{json.dumps(document, indent=2)}\n")

    def start_log(self, name: str) -> Path:
        """An empty log file for the output of a command's processes."""
        return self._write(f"{name}.log", "")

    @contextmanager
    def _temporary(self, name: str, text: str) -> Iterator[Path]:
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
