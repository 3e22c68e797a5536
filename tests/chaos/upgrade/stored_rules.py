"""Run by the release before alone: does it read these records, ledgers and twins?

Reads JSON from standard input: a list of [kind, text]. Writes one error or an empty text for each.
Its `firstpull` is the one in the archive that the first argument names.
"""

from __future__ import annotations

import json
import sys
from typing import Any

sys.path.insert(0, sys.argv[1])

from firstpull.model import ledger, record_codec, twin_entry


def _check(kind: str, text: str) -> None:
    if kind == "record":
        again = record_codec.to_json(record_codec.from_json(text))
        kept, before = json.loads(again), json.loads(text)
        lost = {name for name in kept if not _is_kept(kept[name], before.get(name, kept[name]))}
        if lost:
            raise ValueError(f"it would change {', '.join(sorted(lost))}")
    elif kind == "ledger":
        ledger.from_json(text.encode())
    else:
        entry = twin_entry.read_entry(json.loads(text), kind)
        if entry is None or not entry.intact:
            raise ValueError("the twin's entry is not its own")


def _is_kept(kept: Any, before: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether all that this release knows is as before; it drops what a later one has added."""
    if isinstance(kept, dict) and isinstance(before, dict):
        return all(_is_kept(kept[name], before.get(name, kept[name])) for name in kept)
    if isinstance(kept, list) and isinstance(before, list) and len(kept) == len(before):
        return all(map(_is_kept, kept, before))
    return bool(kept == before)


def _answer(kind: str, text: str) -> str:
    try:
        _check(kind, text)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return ""


if __name__ == "__main__":
    json.dump([_answer(kind, text) for kind, text in json.load(sys.stdin)], sys.stdout)
