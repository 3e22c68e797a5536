"""A process that removes everything of a run whose own process died.

It waits for the end of its standard input, which is a pipe from the run. The pipe also ends when
the run is killed. Its session is its own, so that Ctrl-C and a closed terminal do not reach it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from tools.verify_azure.journal import Journal
from tools.verify_azure.remove import remove
from tools.verify_azure.rest import Arm, Refused

_PAUSES = (5.0, 15.0, 60.0, 300.0)
"""Between attempts: whatever killed the run may have cut the network too."""


@contextmanager
def watched(journal: Journal) -> Iterator[int]:
    """A watcher for a run while the context is open; gives its process id.

    It outlives this process. On exit it does nothing if the note is gone, else it removes.
    """
    root = Path(__file__).parents[2]
    with journal.path.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and a path of ours
            [sys.executable, "-m", "tools.verify_azure.watcher", str(journal.path)],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        if process.stdin is not None:
            process.stdin.close()
        if not journal.path.exists():
            process.wait()


def main(path: Path) -> int:
    """Wait for the end of the run, then remove what is left of it. 1 where it could not."""
    sys.stdin.read()
    if not path.exists():
        path.with_suffix(".log").unlink(missing_ok=True)
        return 0
    journal = Journal.read(path)
    with journal.locked(wait=True):
        _say("the run ended before it had removed everything")
        for pause in (*_PAUSES, None):
            try:
                credential = DefaultAzureCredential()
                remove(Arm(credential, endpoint=journal.run.endpoint), journal, say=_say)
            except (AzureError, Refused) as error:
                _say(str(error))
            else:
                _say("everything is removed")
                return 0
            if pause is not None:
                time.sleep(pause)
    return 1


def _say(line: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    print(now, line, flush=True)  # noqa: T201 - the log


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
