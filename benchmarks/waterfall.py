"""Every call of one onboarding, by the traces: `python -m benchmarks waterfall`.

firstpull exports its traces, as on Azure, to an endpoint of the benchmark. Exporting takes time
of its own: the figure of one device is measured without it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from benchmarks.apps import Bench, Setup, running_bench
from benchmarks.charts import Bar, waterfall
from benchmarks.command import parser_of, print_json
from benchmarks.floor import ONBOARD, longest_chain
from benchmarks.traces import Span, open_ingestion
from benchmarks.trust import Trust
from local_azure.container_registry.resources import Provisioning
from local_azure.stack import ConnectedRegistryOptions

_PLANT, _DEVICE = "plantone", "traced"
_LABELS = (
    (r"\w+ .*/generateCredentials", "generate the password"),
    (r"(\w+) .*/connectedRegistries/[^/]+", "{} the list of clients"),
    (rf"(\w+) .*/tokens/{_PLANT}", "{} the sync token"),
    (rf"(\w+) .*/scopeMaps/{_PLANT}", "{} the sync token's scope map"),
    (r"(\w+) .*/scopeMaps/[^/]+", "{} the scope map"),
    (r"(\w+) .*/tokens/[^/]+", "{} the token"),
    (r"(\w+) /secrets/[^/]+/versions", "{} the secret's versions"),
    (r"(\w+) /secrets/.*", "{} the secret"),
    (r"(\w+) /twins/.*", "{} the twin"),
    (r"(\w+) /devices/.*", "{} the identity"),
)
_READS = {"GET": "read", "HEAD": "read", "PUT": "PUT", "PATCH": "PATCH", "POST": "POST"}


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """The bars of one onboarding, in seconds from the webhook's acceptance."""

    seconds: float
    floor_seconds: float
    bars: tuple[Bar, ...]
    storage_calls: int


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print the calls, or draw them."""
    parser = parser_of("waterfall")
    parser.add_argument("--svg", type=Path, help="the file to draw")
    parsed = parser.parse_args(arguments)
    found = asyncio.run(measure(trust))
    if parsed.svg is not None:
        parsed.svg.write_text(drawn(asdict(found)))
    print_json(asdict(found), for_programs=parsed.json)
    return 0


def drawn(figures: dict[str, Any]) -> str:
    """The SVG of a waterfall's figures."""
    return waterfall(
        [Bar(**bar) for bar in figures["bars"]],
        title="One onboarding, from the webhook's acceptance to the device twin",
        ends_at=figures["seconds"],
        floor=figures["floor_seconds"],
    )


async def measure(trust: Trust) -> Waterfall:
    """Onboard one device, after another one has warmed the host."""
    address, authority, _ = trust
    registries = [ConnectedRegistryOptions(name=_PLANT)]
    async with (
        open_ingestion(authority, address=address) as ingestion,
        running_bench(trust, registries, Setup(settings=ingestion.settings)) as bench,
    ):
        for device in ("warm-up", _DEVICE):
            bench.register([device])
            await bench.settled()
            ingestion.spans.clear()
            accepted = await bench.ask(device, connectedRegistry=_PLANT)
            found = await bench.delivered([device], at_most=60)
            await bench.settled()
        provisioning = _provisioning(bench)
    zero = datetime.now(UTC) - timedelta(seconds=time.monotonic() - accepted)
    ended = found[_DEVICE] - accepted
    began = provisioning.since, provisioning.until
    operation = (provisioning.until - provisioning.since).total_seconds()
    calls = [span for span in ingestion.spans if _is_of_the_onboarding(span, ingestion.spans)]
    storage = [span for span in calls if _service(span) == "storage"]
    bars = [
        *_storage_bar(storage, zero, before=ended),
        Bar(
            label="Azure makes the token",
            service="operation",
            pieces=(((began[0] - zero).total_seconds(), (began[1] - zero).total_seconds()),),
        ),
        *(
            Bar(label=_label(span), service=_service(span), pieces=(_piece(span, zero),))
            for span in calls
            if _service(span) != "storage" and _piece(span, zero)[0] < ended
        ),
    ]
    bars.sort(key=lambda bar: bar.pieces[0])
    return Waterfall(
        seconds=round(ended, 3),
        floor_seconds=round(longest_chain(ONBOARD, operation_seconds=operation).seconds, 3),
        bars=tuple(bars),
        storage_calls=len(bars[0].pieces) if storage else 0,
    )


def _provisioning(bench: Bench) -> Provisioning:
    registry = bench.stack.cloud.registries()[0]
    token = next(t for t in registry.tokens() if t.name.startswith(f"fp-{_DEVICE}-"))
    return token.provisioning


def _is_of_the_onboarding(span: Span, spans: Sequence[Span]) -> bool:
    """Whether it is a call in the trace of the device."""
    traces = {each.trace for each in spans if f"fp-{_DEVICE}-" in each.url}
    return span.trace in traces and bool(urlsplit(span.url).netloc)


def _service(span: Span) -> str:
    path = urlsplit(span.url).path
    if path.startswith("/devstoreaccount1"):
        return "storage"
    if path.startswith("/subscriptions/"):
        return "arm"
    return "keyVault" if path.startswith("/secrets/") else "iotHub"


def _label(span: Span) -> str:
    method, _, _ = span.name.partition(" ")
    call = f"{method} {unquote(urlsplit(span.url).path)}"
    for pattern, label in _LABELS:
        if found := re.fullmatch(pattern, call):
            return label.format(*(_READS.get(group, group) for group in found.groups()))
    return call


def _piece(span: Span, zero: datetime) -> tuple[float, float]:
    return (
        round((span.began - zero).total_seconds(), 3),
        round((span.ended - zero).total_seconds(), 3),
    )


def _storage_bar(spans: Sequence[Span], zero: datetime, *, before: float) -> Iterator[Bar]:
    pieces = sorted(_piece(span, zero) for span in spans)
    pieces = [piece for piece in pieces if 0 <= piece[0] < before]
    if pieces:
        yield Bar(label=f"storage, {len(pieces)} calls", service="storage", pieces=tuple(pieces))
