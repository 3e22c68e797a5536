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

from local_azure.functions_host.host import FunctionsHost, HostOptions
from local_azure.functions_host.host_json import HostJsonInvalid
from local_azure.functions_host.http_routes import InvalidRoute
from local_azure.functions_host.process_clock import ClockFollower, ProcessClock
from local_azure.functions_host.settings import AppSettings, SettingMissing
from local_azure.functions_host.timers import InvalidSchedule
from local_azure.functions_host.worker import AppRejected
from local_azure.kernel.clock import Clock

_LOG = logging.getLogger("functions_host")
# They log a line for every request to storage, every token and every invocation.
_CHATTY = ("azure.core.pipeline.policies.http_logging_policy", "azure.identity", "azure.functions")
_REFUSALS = (AppRejected, HostJsonInvalid, InvalidRoute, InvalidSchedule, SettingMissing, OSError)


def main() -> int:
    """Run an app until SIGTERM or SIGINT; 1 when it cannot start. Else the process ends inside."""
    arguments = _arguments()
    options = _options(arguments)
    _log_to_stderr()
    os.chdir(options.app_folder)
    sys.path.insert(0, str(options.app_folder))
    os.environ["WEBSITE_INSTANCE_ID"] = options.instance_id
    return asyncio.run(_run(options, follows_clock=arguments.follow_clock))


async def _run(options: HostOptions, *, follows_clock: bool) -> int:
    follower = ClockFollower(ProcessClock()) if follows_clock else None
    if follower is not None:
        await follower.start()
    try:
        host = await FunctionsHost.load(options, AppSettings(os.environ), clock=Clock())
        address = await host.start()
    except _REFUSALS as refusal:
        _LOG.critical("the app cannot be started: %s", refusal)
        if stack_trace := getattr(refusal, "stack_trace", ""):
            _LOG.critical("%s", stack_trace)
        return 1
    print(json.dumps({"listening": address}), flush=True)  # noqa: T201 - callers wait for it
    for function in host.describe():
        _LOG.info("serves %s", json.dumps(function))
    code = await _serve(host, follower)
    if not await host.stop():
        _LOG.warning("functions are still running after %g s", options.grace_seconds)
    # As on Azure, where an app has no hook for clean-up: threads cannot be ended, and each open
    # connection of the app would log a warning.
    logging.shutdown()
    os._exit(code)


async def _serve(host: FunctionsHost, follower: ClockFollower | None) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(host.until_a_listener_breaks())]
    if follower is not None:
        ends.append(asyncio.create_task(follower.run()))
    done, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for task in done:
        if (error := task.exception()) is not None:
            _LOG.critical("a listener broke", exc_info=error)
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
        help="how long functions may run on after SIGTERM",
    )
    parser.add_argument(
        "--follow-clock",
        action="store_true",
        help="read from standard input, one value a line, by how many seconds to be ahead",
    )
    return parser.parse_args()


def _options(arguments: argparse.Namespace) -> HostOptions:
    return HostOptions(
        app_folder=arguments.app_dir,
        address=arguments.host,
        port=arguments.port,
        instance_id=arguments.instance_id,
        grace_seconds=arguments.grace_seconds,
    )


def _folder(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is no folder")
    return path


def _loopback(text: str) -> str:
    if not ipaddress.ip_address(text).is_loopback:
        raise argparse.ArgumentTypeError(f"{text} is not a loopback address")
    return text


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
