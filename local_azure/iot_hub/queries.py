"""Queries on twins: the kinds that firstpull sends, with IoT Hub's pages.

`SELECT * FROM devices WHERE`, or `devices.modules`, is followed by `is_defined(path)`,
`deviceId IN ["…"]` or `moduleId IN ["…"]`, also several joined by OR. Any other query is refused,
so that its sender fails at once.
https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-query-language
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from local_azure.iot_hub.documents import module_twin_document, twin_document
from local_azure.iot_hub.exceptions import ARGUMENT_INVALID, IotHubError
from local_azure.iot_hub.query_index import IndexedDevice
from local_azure.iot_hub.twins import JsonObject

MAX_CHARACTERS = 8192
MAX_ROWS = 100

_SELECT = re.compile(
    r"\s*SELECT\s+\*\s+FROM\s+devices(?P<modules>\.modules)?\b\s*(?P<where>WHERE\b)?",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"""\s*(?:
      (?i:is_defined) \( \s* (?P<path>
        (?:tags | properties\.desired | properties\.reported) (?:\.[\w$]+)+
      ) \s* \)
    | (?P<id>(?i:deviceId|moduleId)) \s+ (?i:IN) \s+ (?P<ids> \[ [^\]]* \] )
    )\s*(?P<more> (?i:OR)\b )?""",
    re.VERBOSE,
)

type Condition = Callable[[JsonObject], bool]


@dataclass(frozen=True)
class QueryPage:
    """Up to MAX_ROWS twins. `continuation` is None on the last page."""

    rows: list[JsonObject]
    continuation: str | None


def query_page(
    devices: Iterable[IndexedDevice], text: str, *, most: int, continuation: str | None
) -> QueryPage:
    """The page after the one that returned `continuation`; None asks for the first.

    `devices` are sorted by age, and a continuation names the last device of a page: a creation or
    deletion between two pages neither hides nor repeats other devices. Raises IotHubError 400.
    """
    conditions = parse_query(text)
    after = _device_after(continuation)
    found = (
        (device.created, twin)
        for device in devices
        if device.created > after
        for twin in (_document(device),)
        if any(holds(twin) for holds in conditions)
    )
    page = list(islice(found, most + 1))
    more = len(page) > most
    last = base64.b64encode(str(page[most - 1][0]).encode()).decode() if more else None
    return QueryPage([twin for _, twin in page[:most]], last)


def parse_query(text: str) -> list[Condition]:
    """The conditions of a query, which match with OR. Raises IotHubError 400."""
    if len(text) > MAX_CHARACTERS:
        raise _refused(f"it has more than {MAX_CHARACTERS} characters")
    select = _SELECT.match(text)
    if select is None or (select["where"] is None and select.end() < len(text)):
        raise _refused("it is not SELECT * FROM devices, alone or followed by WHERE")
    if select["where"] is None:
        return [lambda _: True]
    conditions: list[Condition] = []
    position, more = select.end(), True
    while more:
        match = _CONDITION.match(text, position)
        if match is None:
            raise _refused(f"an unsupported condition begins at character {position + 1}")
        conditions.append(
            _is_defined(match["path"]) if match["path"] else _is_one_of(match["id"], match["ids"])
        )
        position, more = match.end(), match["more"] is not None
    if position < len(text):
        raise _refused(f"only OR may follow at character {position + 1}")
    return conditions


def _is_defined(path: str) -> Condition:
    def holds(twin: JsonObject) -> bool:
        value: object = twin
        for name in path.split("."):
            if not isinstance(value, dict) or name not in value:
                return False
            value = value[name]
        return True

    return holds


def is_on_modules(text: str) -> bool:
    """Whether a query is on the twins of modules."""
    select = _SELECT.match(text)
    return select is not None and select["modules"] is not None


def _document(found: IndexedDevice) -> JsonObject:
    if found.module is not None:
        return module_twin_document(found.identity, found.module, found.twin)
    return twin_document(found.identity, found.twin)


def _is_one_of(name: str, ids: str) -> Condition:
    try:
        wanted = json.loads(ids)
    except ValueError as error:
        raise _refused("the list after IN is not a list of strings") from error
    key = {"deviceid": "deviceId", "moduleid": "moduleId"}[name.lower()]
    return lambda twin: twin.get(key) in wanted


def _device_after(continuation: str | None) -> int:
    if continuation is None:
        return 0
    try:
        return int(base64.b64decode(continuation, validate=True))
    except ValueError as error:
        raise IotHubError(ARGUMENT_INVALID, "x-ms-continuation is invalid.") from error


def _refused(reason: str) -> IotHubError:
    """400 with the reason, which Azure does not give."""
    return IotHubError(ARGUMENT_INVALID, f"BadRequest: the query was refused: {reason}.")
