"""Replaces files atomically: a reader sees the old or the new content, never a part."""

from __future__ import annotations

import glob
import os
import tempfile
from pathlib import Path

_UNFINISHED = ".firstpull-agent"


def replace_file(path: Path, content: bytes, *, mode: int) -> None:
    """Write `content` to `path` atomically, with `mode`, in new folders if needed. Raises OSError.

    A power cut after the return does not undo it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path)
    # mkstemp creates the file readable by its owner only.
    descriptor, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED
    )
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files of a killed `replace_file` of `path`. Raises OSError."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_UNFINISHED}"):
        left.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
