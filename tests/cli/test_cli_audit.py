"""The export of who asked for what: its times, its pages, and its forms."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.requests_made import time_of

from .command import Operator
from .fake_service import fake_service

_NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def entry(device_id: str, hour: int, by: str, **more: str) -> dict[str, str]:
    """A request of this hour."""
    at = f"2026-11-29T{hour:02}:00:00Z"
    return {"at": at, "by": by, "event": "x", "deviceId": device_id, "hub": "h", **more}


_LATER = entry("d-1", 11, "key night", detail='plant01: "a", b')
_FIRST = entry("d-2", 9, "key night")
_OTHERS = entry("d-3", 10, "somebody else")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-11-29T10:30:00+00:00"),
        ("12h", "2026-11-29T00:00:00+00:00"),
        ("7d", "2026-11-22T12:00:00+00:00"),
        (" 4 w ", "2026-11-01T12:00:00+00:00"),
        ("2026-11-01T08:00:00+01:00", "2026-11-01T07:00:00+00:00"),
    ],
)
def test_a_time_is_so_long_ago_or_a_time_with_its_zone(text: str, expected: str) -> None:
    assert datetime.fromisoformat(time_of(text, now=lambda: _NOW)) == datetime.fromisoformat(
        expected
    )


def test_a_date_begins_where_the_operator_is() -> None:
    found = datetime.fromisoformat(time_of("2026-11-29"))
    assert found == datetime(2026, 11, 29).astimezone()


@pytest.mark.parametrize("text", ["soon", "7", "7y", "-1d", "2026-13-01"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(CliError) as raised:
        time_of(text)
    assert raised.value.status is Exit.USAGE
    assert "7d" in raised.value.advice


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_the_requests_of_all_pages_are_exported_the_oldest_first(
    tmp_path: Path, form: str
) -> None:
    unreadable = {"deviceId": "d-9", "hub": "h"}
    pages = (
        {"entries": [_LATER, _OTHERS], "next": "more", "unreadable": [unreadable]},
        {"entries": [_FIRST]},
    )
    with fake_service(*((200, {}, page) for page in pages)) as service:
        operator = Operator(tmp_path, {"FIRSTPULL_URL": service.url, "FIRSTPULL_KEY": "sesame"})
        words = ("audit", "--since", "2026-11-29T08:00:00Z", "--until", "2026-11-29T12:00:00Z")
        ran = await operator.ok(*words, "--by", "key night", "--format", form)
    found = (
        [{k: v for k, v in row.items() if v} for row in csv.DictReader(io.StringIO(ran.out))]
        if form == "csv"
        else list(map(json.loads, ran.out.splitlines()))
    )
    assert found == [_FIRST, _LATER]
    assert "d-9 (h): its record is damaged" in ran.err
    first, second = (parse_qs(urlsplit(asked).query) for asked, _ in service.requests)
    times = [datetime.fromisoformat(first[name][0]) for name in ("since", "until")]
    assert times == [_NOW.replace(hour=8), _NOW]
    assert second == {**first, "after": ["more"]}
