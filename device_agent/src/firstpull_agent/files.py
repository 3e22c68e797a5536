"""Files that are either the old one or the new one, never half of one."""

from __future__ import annotations

import glob
import os
import tempfile
from pathlib import Path

_UNFINISHED = ".firstpull-agent"


def replace_file(path: Path, content: bytes, *, mode: int) -> None:
    """Write `content` to `path` at once, with `mode`. Missing folders are made. Raises OSError.

    When this returns, a power cut does not undo it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path)
    # mkstemp makes the file readable by its owner alone, before anything is in it.
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
    """Remove what a `replace_file` of `path` left that was killed. Raises OSError."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_UNFINISHED}"):
        left.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
