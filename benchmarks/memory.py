"""Memory and processor time of processes, as Linux counts them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path


def resident_mib(process: int | str = "self", *, peak: bool) -> float:
    """The resident memory of a process in MiB, now or at its peak. 0 if there is no such process.

    Not `ru_maxrss`, in which a child begins with the memory of its parent.
    """
    name = "VmHWM" if peak else "VmRSS"
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return 0.0
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def processor_seconds(process: int) -> float:
    """The processor time of a process so far. 0 if there is no such process."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def with_children(process: int) -> list[int]:
    """A process and those that it has started."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
    found = [process]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found
