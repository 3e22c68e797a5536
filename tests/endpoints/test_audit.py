"""Who asked for what and when: in pages over HTTP, and the same in the log."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from urllib.parse import quote

from .endpoints import Endpoints


async def _entries(endpoints: Endpoints, query: str) -> list[dict[str, str]]:
    """Every entry, by pages of one device."""
    found: list[dict[str, str]] = []
    after = ""
    while True:
        answer = await endpoints.call("GET", f"audit?size=1{query}{after}")
        assert answer.status == 200, answer.text
        found += answer.document["entries"]
        if "next" not in answer.document:
            return found
        after = f"&after={quote(answer.document['next'])}"


async def test_each_request_is_listed_with_who_asked_for_what(endpoints: Endpoints) -> None:
    repositories = ["hello-world", "line/app"]
    await endpoints.onboarded("audited-1", logged_in=True, repositories=repositories)
    await endpoints.call("POST", "devices/audited-1/rotate", {"immediately": True})
    await endpoints.call("DELETE", "devices/audited-1")
    await endpoints.until_state("audited-1", "Revoked")
    found = [e for e in await _entries(endpoints, "") if e["deviceId"] == "audited-1"]
    assert [(e["event"], e["by"], e.get("detail")) for e in found] == [
        ("device.intent.recorded", "function key", "doorone: hello-world, line/app"),
        ("device.rotation.recorded", "function key", "immediately"),
        ("device.revoke.recorded", "function key", None),
    ]
    (logged,) = [
        json.loads(line[line.index("{") :])
        for line in endpoints.lines
        if "device.intent.recorded {" in line and '"audited-1"' in line
    ]
    assert (logged["requested_by"], logged["wants"]) == (found[0]["by"], found[0]["detail"])


async def test_the_times_of_a_question_bound_what_is_listed(endpoints: Endpoints) -> None:
    await endpoints.onboarded("audited-2")
    every = await _entries(endpoints, "")
    (asked,) = [e for e in every if e["deviceId"] == "audited-2"]
    at = datetime.fromisoformat(asked["at"])
    later = quote((at + timedelta(seconds=1)).isoformat())
    earlier = quote((at - timedelta(seconds=1)).isoformat())
    between = await _entries(endpoints, f"&since={earlier}&until={later}")
    assert asked in between
    assert asked not in await _entries(endpoints, f"&since={later}")
    assert asked not in await _entries(endpoints, f"&until={earlier}")


async def test_a_time_without_an_offset_is_refused(endpoints: Endpoints) -> None:
    for time in ("yesterday", "2026-11-29", "2026-11-29T10:00:00", "0001-01-01T00:00:00+14:00"):
        answer = await endpoints.call("GET", f"audit?since={quote(time)}")
        assert answer.status == 400, time
        assert answer.paths == ["since"]
