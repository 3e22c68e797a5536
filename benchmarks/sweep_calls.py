"""The calls that one sweep makes: `python -m benchmarks.sweep_calls --devices 2500`.

A fleet without drift is put into a local Azure, and one sweep has to find nothing. The throttles
of Azure Resource Manager and of an S1 hub with one unit apply.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.trust import trusted_authority
from local_azure.kernel.certificates import CertificateAuthority

if TYPE_CHECKING:
    from local_azure.stack import Stack

_SEED = 20261123
_REQUEST = re.compile(r"Request URL: 'https://[^/]+:(\d+)/.*\nRequest method: '([A-Z]+)'")


class FleetNotInOrder(Exception):
    """The sweep found something, so that its calls are not those of a fleet without drift."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The calls of one sweep, by service and operation."""

    devices: int
    seconds: float
    calls: Mapping[str, int]


class StorageCalls(logging.Handler):
    """Counts the requests to the storage account: the SDKs log every one that they send."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__()
        self._services = {
            urlsplit(settings[f"AzureWebJobsStorage__{name}ServiceUri"]).port: name
            for name in ("blob", "queue", "table")
        }
        self.counts: Counter[str] = Counter()
        logger = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one request."""
        request = _REQUEST.search(record.getMessage())
        name = self._services.get(int(request[1])) if request is not None else None
        if request is not None and name is not None:
            verb = "read" if request[2] in ("GET", "HEAD") else "write"
            self.counts[f"{name}.{verb}"] += 1


def main() -> int:
    """Print the calls of a sweep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=2500)
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    with trusted_authority() as (address, authority, _):
        result = asyncio.run(_measure(arguments.devices, address, authority))
    output = json.dumps(asdict(result)) if arguments.json else _table(result)
    sys.stdout.write(f"{output}\n")
    return 0


async def _measure(devices: int, address: str, authority: CertificateAuthority) -> Result:
    from benchmarks.fleet import CLIENTS  # noqa: PLC0415 - see `trusted_authority`
    from local_azure.container_registry.models import AT_ONCE  # noqa: PLC0415 - see `trusted_authority`
    from local_azure.stack import (  # noqa: PLC0415 - see `trusted_authority`
        ConnectedRegistryOptions,
        StackOptions,
        start_stack,
    )

    options = StackOptions(
        seed=_SEED,
        connected_registries=tuple(
            ConnectedRegistryOptions(name=f"plant{number:02}", sync_every_seconds=3600)
            for number in range(math.ceil(devices / CLIENTS))
        ),
        operation_lengths=AT_ONCE,
        event_subscriptions=(),  # their deliveries would be counted, too
    )
    async with start_stack(options, address=address, certificates=authority) as stack:
        return await _sweep(stack, devices)


async def _sweep(stack: Stack, devices: int) -> Result:
    from benchmarks.fleet import Fleet  # noqa: PLC0415 - see `trusted_authority`
    from firstpull.bootstrap import connect, wire  # noqa: PLC0415 - see `trusted_authority`
    from firstpull.config.settings import read_settings  # noqa: PLC0415 - see `trusted_authority`
    from local_azure.commands.function_app import app_settings  # noqa: PLC0415 - see `trusted_authority`

    variables = app_settings(stack)
    os.environ |= variables
    os.environ |= {
        "IDENTITY_ENDPOINT": stack.identity_endpoint,
        "IDENTITY_HEADER": stack.identity_header,
    }
    settings = read_settings()
    ports = await connect(settings)
    now = datetime.now(UTC)
    fleet = Fleet(stack=stack, deployment=settings.deployment, size=devices, now=now)
    await fleet.put_in(ports.ledgers)
    storage = StorageCalls(variables)
    stack.kernel.calls.reset()
    started = time.monotonic()
    report = await wire(settings, ports).sweeper.run()
    seconds = time.monotonic() - started
    if report.devices != devices or report.drifted or report.orphans or report.unread:
        raise FleetNotInOrder(f"the sweep found something: {report}")
    # An app is never closed, so that its wiring offers no way: its connections end with it.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    calls = {**stack.kernel.calls.counts(), **storage.counts}
    calls = {name: n for name, n in calls.items() if not name.startswith("identity.")}
    return Result(devices=devices, seconds=round(seconds, 1), calls=calls)


def _table(result: Result) -> str:
    rows = {**dict(sorted(result.calls.items())), "all": sum(result.calls.values())}
    lines = (f"| `{name}` | {times} |" for name, times in rows.items())
    heading = f"{result.devices} devices, {result.seconds} s"
    return "\n".join((heading, "", "| Call | Times |", "|---|---|", *lines))


if __name__ == "__main__":
    sys.exit(main())
