"""The rows of a file: requests of the HTTP API as CSV or as JSON lines."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from firstpull_cli.api import Document
from firstpull_cli.errors import CliError, Exit

STANDARD_INPUT = "-"
_LISTS = ("repositories", "actions", "deliveryOptions")
_FIELDS = (
    *("deviceId", "connectedRegistry", "site", "repositories", "actions"),
    *("hub", "containerRegistry", "adopt", "delivery", "deliveryOptions", "sealingKey"),
)
_KEY = "sealingKey"
"""A JWK, which a CSV has as JSON."""
REPORTED = ("line", "reason", "why")
"""Columns of a file of refused rows, which is read again after it was corrected."""
_LONGEST_ROW = 64 * 1024
"""Bytes of a request, as the API takes it."""


class Form(StrEnum):
    """How a file is written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A request at a line of the file, or the problem that keeps it from being one."""

    line: int
    document: Document = field(default_factory=dict)
    problem: str | None = None

    @property
    def device_id(self) -> str | None:
        """The device, if the row names one."""
        found = self.document.get("deviceId")
        return found if isinstance(found, str) else None


def read_rows(file: str, *, form: Form | None, defaults: Document) -> list[Row]:
    """The rows of a file or of standard input. `defaults` are for fields that a row leaves out.

    A row that cannot be a request, or names a device again, has a problem. Raises CliError if the
    file itself cannot be read.
    """
    text = _text(file)
    form = form or _form_of(file, text)
    found = _csv_rows(text) if form is Form.CSV else _json_rows(text)
    rows = [_checked(_with_defaults(row, defaults)) for row in found]
    if not rows:
        raise _unusable(f"{file} has no row", "The first line of a CSV names the columns.")
    return list(_each_device_once(rows))


def read_devices(file: str, *, hub: str | None) -> list[Row]:
    """The devices of a file: of `read_rows`, or with an id on each line. Raises CliError."""
    text = _text(file)
    heading = text.lstrip().partition("\n")[0]
    if heading.startswith("{") or "deviceId" in heading:
        form = Form.JSON_LINES if heading.startswith("{") else Form.CSV
        found = list(_csv_rows(text) if form is Form.CSV else _json_rows(text))
    else:
        found = [
            Row(line=number, document={"deviceId": line.strip()})
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip()
        ]
    if not found:
        raise _unusable(f"{file} has no device", "Give a CSV, JSON lines, or an id on each line.")
    return list(_each_device_once([_named(row, hub) for row in found]))


def _named(row: Row, hub: str | None) -> Row:
    if row.device_id is None:
        return Row(line=row.line, document={}, problem=row.problem or "names no device")
    document: Document = {"deviceId": row.device_id}
    if here := row.document.get("hub") or hub:
        document["hub"] = here
    return Row(line=row.line, document=document, problem=row.problem)


def write_refused(path: Path, refused: Iterable[tuple[Row, str, str]]) -> None:
    """Write refused rows with reason and why, as `read_rows` reads them. Raises CliError."""
    documents = [
        {"line": row.line, "reason": reason, "why": why, **row.document}
        for row, reason, why in refused
    ]
    text = io.StringIO()
    if _form_of(str(path), "") is Form.CSV:
        columns = (*_FIELDS, *REPORTED)
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for document in documents:
            writer.writerow({name: _cell(value) for name, value in document.items()})
    else:
        text.writelines(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    try:
        path.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise _unusable(f"{path}: {error.strerror}", "Give a file that can be written.") from None


def _cell(value: object) -> object:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else value


def _text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        advice = "Give a CSV or JSON lines file, or - for standard input."
        raise _unusable(f"{file}: {error.strerror}", advice) from None
    except UnicodeDecodeError as error:
        raise _unusable(f"{file} is not UTF-8: {error}", "Save it as UTF-8.") from None


def _form_of(file: str, text: str) -> Form:
    if file == STANDARD_INPUT:
        return Form.JSON_LINES if text.lstrip()[:1] == "{" else Form.CSV
    is_json = Path(file).suffix.lower() in (".jsonl", ".ndjson", ".json")
    return Form.JSON_LINES if is_json else Form.CSV


def _csv_rows(text: str) -> Iterator[Row]:
    heading = text.partition("\n")[0]
    delimiter = ";" if ";" in heading and "," not in heading else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_columns(columns)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _csv_row(reader.line_num, columns, cells)
    except csv.Error as error:
        advice = "Correct the line; a quote inside a quoted cell is doubled."
        raise _unusable(f"line {reader.line_num} is no CSV: {error}", advice) from None


def _check_columns(columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in (*_FIELDS, *REPORTED)]
    if unknown or "deviceId" not in columns or len(set(columns)) < len(columns):
        problem = (
            f"unknown columns {', '.join(map(repr, unknown))}"
            if unknown
            else ("no column deviceId, or a column twice")
        )
        raise _unusable(
            f"the first line has {problem}", f"Its columns are some of: {', '.join(_FIELDS)}."
        )


def _csv_row(line: int, columns: Sequence[str], cells: Sequence[str]) -> Row:
    values = {
        name: cell.strip() for name, cell in zip(columns, cells, strict=False) if cell.strip()
    }
    document: Document = {
        name: re.split(r"[\s,;]+", value) if name in _LISTS else value
        for name, value in values.items()
        if name not in REPORTED
    }
    problem = "has more cells than the first line" if len(cells) > len(columns) else None
    if _KEY in document:
        try:
            document[_KEY] = json.loads(values[_KEY])
        except ValueError:
            problem = problem or f"{_KEY} is not JSON"
    return Row(line=line, document=document, problem=problem)


def _json_rows(text: str) -> Iterator[Row]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            document = json.loads(content, object_pairs_hook=_each_name_once)
        except (ValueError, RecursionError) as error:
            yield Row(line=line, problem=f"is not JSON: {error}")
            continue
        if not isinstance(document, dict):
            yield Row(line=line, problem="is not a JSON object")
            continue
        kept = {name: value for name, value in document.items() if name not in REPORTED}
        yield Row(line=line, document=kept)


def _each_name_once(pairs: list[tuple[str, object]]) -> Document:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a name is there twice")
    return document


def _with_defaults(row: Row, defaults: Document) -> Row:
    targets = ("connectedRegistry", "site")
    has_target = any(name in row.document for name in targets)
    given = {
        name: value
        for name, value in defaults.items()
        if value and not (has_target and name in targets)
    }
    return Row(line=row.line, document={**given, **row.document}, problem=row.problem)


def _checked(row: Row) -> Row:
    if row.problem is None and len(json.dumps(row.document)) > _LONGEST_ROW:
        return Row(line=row.line, document=row.document, problem="is longer than 64 KiB")
    return row


def _each_device_once(rows: Sequence[Row]) -> Iterator[Row]:
    """The API sees one batch, and would take the later of two rows as a change of the earlier.

    A row without a hub may mean any hub.
    """
    seen: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        if row.problem is None and row.device_id is not None:
            hub = str(row.document.get("hub", "")).lower()
            earlier = seen.setdefault(row.device_id, [])
            same = [line for other, line in earlier if not hub or not other or hub == other]
            if same:
                problem = f"names the device of line {same[0]} again"
                yield Row(line=row.line, document=row.document, problem=problem)
                continue
            earlier.append((hub, row.line))
        yield row


def _unusable(message: str, advice: str) -> CliError:
    return CliError(message, advice=advice, status=Exit.USAGE)
