"""What became of the rows of a file, on disk, so that a command that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from firstpull_cli.api import Document
from firstpull_cli.rows import Row


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where journals are."""
    folder = environment.get("XDG_STATE_HOME") or environment.get("LOCALAPPDATA")
    return (Path(folder) if folder else Path.home() / ".local/state") / "firstpull"


class Journal:
    """The answers to rows that have been sent, one JSON line each.

    It belongs to one firstpull and one content: a file that changed begins anew. A row is written
    after its answer, so a kill may repeat a batch, which changes nothing at the API.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, rows: Sequence[Row], *, url: str, work: str = "onboard") -> Journal:
        """The journal for this work on these rows at this address."""
        content = json.dumps([url, [[row.line, row.document] for row in rows]], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:24]
        return cls(state_folder() / f"{work}-{digest}.jsonl")

    def read(self) -> list[Document]:
        """The answers so far. A line that a crash has cut off counts as not written."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def add(self, answers: Iterable[Document]) -> None:
        """Write answers down, to survive a crash."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(answer) + "\n" for answer in answers)
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Forget everything: the work is done, or begins anew."""
        self.path.unlink(missing_ok=True)
