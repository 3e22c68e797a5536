"""The note of what a run has begun to make, on disk before Azure is asked for it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.verify_azure.plan import Run

FOLDER = Path(__file__).parents[2] / ".local" / "verify-azure"


class Journal:
    """One run's note: a file that is there until everything of the run is removed.

    Its lock is held by whoever makes or removes something of the run, and ends with the process.
    """

    def __init__(self, path: Path, run: Run, begun: list[str]) -> None:
        self.path = path
        self.run = run
        self._begun = begun

    @classmethod
    def start(cls, folder: Path, run: Run) -> Journal:
        """A new note."""
        folder.mkdir(parents=True, exist_ok=True)
        journal = cls(folder / f"{run.id}.json", run, [])
        journal._write()
        return journal

    @classmethod
    def read(cls, path: Path) -> Journal:
        """The note in a file. Raises OSError and ValueError."""
        document = json.loads(path.read_text())
        return cls(path, Run(**document["run"]), list(document["begun"]))

    def note(self, resource: str) -> None:
        """Write down that Azure is about to be asked to make a resource."""
        self._begun.append(resource)
        self._write()

    def forget(self, resource: str) -> None:
        """Take a resource out that Azure has refused to make."""
        self._begun.remove(resource)
        self._write()

    def has_begun(self, resource: str) -> bool:
        """Whether Azure may have been asked to make a resource."""
        return resource in self._begun

    @contextmanager
    def locked(self, *, wait: bool) -> Iterator[bool]:
        """Hold the lock. False if another process has it, unless `wait`."""
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)

    def close(self) -> None:
        """Remove the note: nothing of the run is left."""
        self.path.unlink(missing_ok=True)
        self._new.unlink(missing_ok=True)
        self._lock.unlink(missing_ok=True)

    @property
    def _lock(self) -> Path:
        return self.path.with_suffix(".lock")

    @property
    def _new(self) -> Path:
        return self.path.with_suffix(".new")

    def _write(self) -> None:
        document = {"run": self.run.to_json(), "begun": self._begun}
        with self._new.open("w") as file:
            json.dump(document, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        self._new.replace(self.path)


def journals(folder: Path) -> list[Journal]:
    """The notes of all runs of which something may be left."""
    return [Journal.read(path) for path in sorted(folder.glob("*.json"))]
