"""The command: `python -m local_azure.functions_host --app-dir DIR --port N`."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import logging
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local_azure.functions_host.logs import log_to_stderr
from local_azure.functions_host.process_clock import ClockFollower, ProcessClock
from local_azure.functions_host.worker import PythonWorker

if TYPE_CHECKING:
    from local_azure.functions_host.host import FunctionsHost

_LOG = logging.getLogger("functions_host")


def main() -> int:
    """Run an app until SIGINT; 1 when it cannot start. Else the process ends inside."""
    arguments = _arguments()
    log_to_stderr()
    os.environ["WEBSITE_INSTANCE_ID"] = arguments.instance_id
    return asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    # As Microsoft's host does: whoever wants it to end drains it, or kills it.
    loop.add_signal_handler(signal.SIGTERM, _LOG.warning, "SIGTERM does nothing; SIGINT ends")
    follower = ClockFollower(ProcessClock()) if arguments.follow_clock else None
    ahead = 0.0 if follower is None else await follower.start()
    worker = await PythonWorker.spawn(arguments.app_dir, clock_ahead=ahead)
    # Imported while the worker loads the app: the SDKs take most of a second.
    from local_azure.functions_host.host import (  # noqa: PLC0415 - see above
        REFUSALS,
        FunctionsHost,
        HostOptions,
    )
    from local_azure.functions_host.settings import AppSettings  # noqa: PLC0415 - see above
    from local_azure.kernel.clock import Clock  # noqa: PLC0415 - see above

    options = HostOptions(
        app_folder=arguments.app_dir,
        address=arguments.host,
        port=arguments.port,
        grace_seconds=arguments.grace_seconds,
    )
    try:
        host = await FunctionsHost.load(options, AppSettings(os.environ), worker, clock=Clock())
        address = await host.start()
    except REFUSALS as refusal:
        _LOG.critical("the app cannot be started: %s", refusal)
        if stack_trace := getattr(refusal, "stack_trace", ""):
            _LOG.critical("%s", stack_trace)
        worker.kill()
        await worker.stop()
        return 1
    print(json.dumps({"listening": address}), flush=True)  # noqa: T201 - callers wait for it
    for function in host.describe():
        _LOG.info("serves %s", json.dumps(function))
    code = await _serve(host, worker, follower, stop=stop)
    if not await host.stop():
        _LOG.warning("functions are still running after %g s", arguments.grace_seconds)
        worker.kill()
    await worker.stop()
    logging.shutdown()
    os._exit(code)  # no open connection of an SDK is worth a warning


async def _serve(
    host: FunctionsHost,
    worker: PythonWorker,
    follower: ClockFollower | None,
    *,
    stop: asyncio.Event,
) -> int:
    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(host.until_broken())]
    if follower is not None:
        ends.append(asyncio.create_task(follower.run(worker.move_clock)))
    done, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for task in done:
        if (error := task.exception()) is not None:
            _LOG.critical("the host cannot go on", exc_info=error)
            return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local_azure.functions_host",
        description="Runs a Python function app on loopback, with app settings from the "
        "environment. Keys: LOCAL_FUNCTIONS_KEY, LOCAL_FUNCTIONS_SYSTEM_KEY, "
        "LOCAL_FUNCTIONS_MASTER_KEY; one that is not set is random and opens nothing.",
    )
    parser.add_argument("--app-dir", type=_folder, required=True, help="holds function_app.py")
    parser.add_argument("--host", type=_loopback, default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=7071, help="0 takes any that is free")
    parser.add_argument("--instance-id", default=secrets.token_hex(16))
    parser.add_argument(
        "--grace-seconds",
        type=float,
        default=10.0,
        help="how long functions may run on after SIGINT",
    )
    parser.add_argument(
        "--follow-clock",
        action="store_true",
        help="read from standard input, one value a line, by how many seconds to be ahead",
    )
    return parser.parse_args()


def _folder(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is no folder")
    return path


def _loopback(text: str) -> str:
    if not ipaddress.ip_address(text).is_loopback:
        raise argparse.ArgumentTypeError(f"{text} is not a loopback address")
    return text


if __name__ == "__main__":
    sys.exit(main())
