"""One start of the app, in a process of its own: `cold_start` starts it with an app's settings.

With `base` it imports azure.functions and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from benchmarks.memory import resident_mib


def _import_base() -> dict[str, float]:
    started, computed = time.perf_counter(), time.process_time()
    import azure.functions  # noqa: F401, PLC0415 - it is what is measured

    return {
        "seconds": time.perf_counter() - started,
        "cpuSeconds": time.process_time() - computed,
        "mib": resident_mib(peak=False),
    }


async def _first_answer(app: Any) -> tuple[int, float]:  # noqa: ANN401 - the worker's object
    """The status of the first answer of an endpoint that needs storage, and when it came."""
    import azure.functions as func  # noqa: PLC0415 - after the measured import

    functions = {each.get_function_name(): each for each in app.get_functions()}
    request = func.HttpRequest(method="GET", url="/api/devices", params={"limit": "1"}, body=b"")
    answer = await functions["list_devices"].get_user_function()(request)
    return answer.status_code, time.perf_counter()


def _start() -> dict[str, float]:
    started, computed = time.perf_counter(), time.process_time()
    import function_app  # noqa: PLC0415 - it is what is measured

    imported = time.perf_counter()
    status, answered = asyncio.run(_first_answer(function_app.app))
    return {
        "status": status,
        "importSeconds": imported - started,
        "seconds": answered - started,
        "cpuSeconds": time.process_time() - computed,
        "mib": resident_mib(peak=False),
    }


if __name__ == "__main__":
    measured = _import_base() if sys.argv[1:] == ["base"] else _start()
    sys.stdout.write(json.dumps(measured))
