"""The clock of a host's process, which starts before anybody reads it."""

from __future__ import annotations

import subprocess
import sys

_LAG = """
import time
import time_machine
from local_azure.functions_host.process_clock import ProcessClock

ProcessClock().move(1000.0)
time.sleep(0.3)
print(time_machine.escape_hatch.time.time() + 1000.0 - time.time())
"""


def test_a_moved_clock_goes_on_while_nobody_reads_it() -> None:
    lag = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", _LAG], capture_output=True, check=True, text=True
    )
    assert float(lag.stdout) < 0.2
