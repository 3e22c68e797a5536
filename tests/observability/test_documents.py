"""The documents tell of every metric, setting and reason, and of none that is not there."""

from __future__ import annotations

import re

import pytest

from firstpull.adapters import telemetry
from firstpull.model.reasons import Reason
from tests.docs.test_documents import rows, text_of

_PARTS = ("Means", "Do", "By itself")
_ENTRY = re.compile(r"^#### (\w+)\n\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
ENTRIES: list[tuple[str, str]] = _ENTRY.findall(text_of("docs/runbook.md"))


def test_every_default_of_the_exporter_is_listed_and_no_other() -> None:
    documented = rows("docs/observability.md", section="of the same name wins.")
    listed = {name: cells[0].strip("`") for name, cells in documented.items() if name.isupper()}
    assert listed == telemetry._DEFAULTS


def test_every_reason_has_one_entry_in_the_runbook_and_there_is_no_other() -> None:
    assert sorted(name for name, _ in ENTRIES) == sorted(Reason)


@pytest.mark.parametrize(("name", "entry"), ENTRIES, ids=[name for name, _ in ENTRIES])
def test_an_entry_says_what_it_means_what_to_do_and_when_it_ends(name: str, entry: str) -> None:
    labels = re.findall(r"^- \*\*([\w ]+)\*\*: \S", entry, re.MULTILINE)
    assert tuple(labels) == _PARTS, name


def test_every_part_of_the_runbook_says_where_to_pass() -> None:
    reasons = text_of("docs/runbook.md").partition("\n## Reasons\n")[2]
    parts = re.split(r"^### ", reasons, flags=re.MULTILINE)[1:]
    assert len(parts) == 6
    for part in parts:
        introduction = part.partition("####")[0]
        assert re.search(r"`GET /api/|`warnings`", introduction), part[:30]
