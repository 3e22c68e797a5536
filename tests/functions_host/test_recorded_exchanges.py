"""What Microsoft's Functions host was recorded to answer, asked of the local one."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from .hosts import KEYS, RunningHost, Storage, host_running
from .raw_http import Answer, exchanged

EXCHANGES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "contract" / "functions_host" / "exchanges.jsonl")
    .read_text()
    .splitlines()
]
SAID = [exchange for exchange in EXCHANGES if "leftOut" not in exchange]
_HOST = "127.0.0.1:7071"
_KEYS = {
    "{FUNCTION}": KEYS["LOCAL_FUNCTIONS_KEY"],
    "{SYSTEM}": KEYS["LOCAL_FUNCTIONS_SYSTEM_KEY"],
    "{MASTER}": KEYS["LOCAL_FUNCTIONS_MASTER_KEY"],
}
_TIMES = re.compile(r"\{(.)\*(\d+)\}")
_NOT_RECORDED = {"connection", "date", "server"}


@pytest.fixture(scope="module")
async def host(storage: Storage) -> AsyncIterator[RunningHost]:
    settings = storage.settings | {"AzureFunctionsWebHost__hostid": "recorded"}
    async with host_running("recorded", settings) as running:
        yield running


def test_at_least_104_of_107_exchanges_hold() -> None:
    assert (len(EXCHANGES), len(SAID) >= 104) == (107, True)


@pytest.mark.parametrize("exchange", SAID, ids=[exchange["name"] for exchange in SAID])
async def test_the_local_host_answers_as_microsofts(
    host: RunningHost, exchange: dict[str, Any]
) -> None:
    expected = exchange["answer"]
    answer = await answer_of(host, **exchange["request"])
    ignored = _NOT_RECORDED | ({"content-length"} if "bodyNotRecorded" in exchange else set())
    assert answer.status == expected["status"]
    assert _without(answer.headers, ignored) == _without(expected["headers"], ignored)
    if "bodyNotRecorded" not in exchange:
        assert _comparable(answer.body) == _comparable(expected.get("body", ""))


async def test_what_the_app_sets_is_sent_as_it_is_even_a_wrong_length(host: RunningHost) -> None:
    answer = await answer_of(host, method="GET", path="/api/answer?kind=length")
    sent = {name.lower(): value for name, value in answer.headers.items()}
    assert (sent["content-length"], sent["date"], sent["server"]) == ("99", "a date", "mine")
    assert answer.body == "x"


async def test_a_header_that_would_split_the_answer_is_500(host: RunningHost) -> None:
    answer = await answer_of(host, method="GET", path="/api/answer?kind=split")
    assert (answer.status, answer.body, "X-Other" in answer.headers) == (500, "", False)


async def answer_of(
    host: RunningHost,
    *,
    method: str,
    path: str,
    version: str = "HTTP/1.1",
    headers: dict[str, str | list[str] | None] | None = None,
    body: str = "",
) -> Answer:
    """One request, sent byte for byte, and its answer."""
    sent: dict[str, str | list[str] | None] = {"Host": _HOST, "Connection": "close"}
    if body or method in ("POST", "PUT"):
        sent["Content-Length"] = str(len(body))
    lines = [f"{method} {path} {version}"]
    for name, value in (sent | (headers or {})).items():
        values = value if isinstance(value, list) else [value]
        lines += [f"{name}: {text}" for text in values if text is not None]
    head = _filled("\r\n".join(lines))
    return await exchanged(host.address, f"{head}\r\n\r\n{body}".encode("latin-1"))


def _filled(text: str) -> str:
    for name, key in _KEYS.items():
        text = text.replace(name, key)
    return _TIMES.sub(lambda found: found[1] * int(found[2]), text)


def _comparable(body: str) -> object:
    for key in _KEYS.values():
        body = body.replace(key, "{KEY}")
    try:
        return json.loads(body)
    except ValueError:
        return body


def _without(headers: dict[str, str], ignored: set[str]) -> dict[str, str]:
    found = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in found.items() if name not in ignored}
