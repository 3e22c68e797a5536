"""Device twins as values: sections, merge patches, versions and limits."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import datetime

from local_azure.iot_hub.exceptions import ARGUMENT_INVALID, IotHubError
from local_azure.kernel.clock import dotnet_time

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None
type JsonObject = dict[str, Json]

MAX_DEPTH = 10
MAX_KEY_BYTES = 1024
MAX_STRING_BYTES = 4096
MIN_INTEGER = -(2**52)
MAX_INTEGER = 2**52 - 1

_FORBIDDEN_IN_KEYS = re.compile(r"[\x00-\x1f\x7f-\x9f.$# ]")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NUMBER_BYTES = 8
_BOOLEAN_BYTES = 4


@dataclass(frozen=True)
class SectionRules:
    """A section's name in messages and its size limit in bytes."""

    name: str
    max_bytes: int


TAGS = SectionRules("tags", 8 * 1024)
DESIRED = SectionRules("desired properties", 32 * 1024)
REPORTED = SectionRules("reported properties", 32 * 1024)


@dataclass(frozen=True)
class Section:
    """Desired or reported properties. `metadata` mirrors the shape of `values`."""

    values: JsonObject
    metadata: JsonObject
    version: int = 1

    @classmethod
    def empty(cls, at: datetime) -> Section:
        """The section of a device that was created at this time."""
        return cls(values={}, metadata={"$lastUpdated": hub_time(at)})


@dataclass(frozen=True)
class TwinPatch:
    """A patch of the service side. None leaves a section unchanged."""

    tags: JsonObject | None = None
    desired: JsonObject | None = None


@dataclass(frozen=True)
class Twin:
    """The twin of a device or a module.

    `writes` counts the patches of the service side and is the ETag.

    An assumption: every write of either side increases `version`. It agrees with the 2 of a new
    twin, whose two sections are both at 1.
    """

    desired: Section
    reported: Section
    tags: JsonObject = field(default_factory=dict)
    writes: int = 1
    version: int = 2
    configurations: tuple[str, ...] = ()
    """The automatic deployments that have it as a target and are applied."""

    @classmethod
    def empty(cls, at: datetime) -> Twin:
        """The twin of a device that was created at this time."""
        return cls(desired=Section.empty(at), reported=Section.empty(at))

    @property
    def etag(self) -> str:
        """The ETag without quotes: base64 of the counter in eight bytes, big-endian."""
        return base64.b64encode(self.writes.to_bytes(8)).decode()


def hub_time(at: datetime | None) -> str:
    """A time in IoT Hub's format; None is the year 1."""
    return "0001-01-01T00:00:00Z" if at is None else dotnet_time(at)


def merge_tags(tags: JsonObject, patch: JsonObject) -> JsonObject:
    """Tags after an RFC 7386 merge patch. Raises IotHubError 400 beyond a limit."""
    _check_object(TAGS, patch, depth=0)
    merged, _ = _merge(tags, {}, patch, {})
    _check_size(TAGS, merged)
    return merged


def merge_desired(section: Section, patch: JsonObject, *, at: datetime) -> Section:
    """Desired properties after a merge patch, with time and version in their metadata."""
    stamp: JsonObject = {
        "$lastUpdated": hub_time(at),
        "$lastUpdatedVersion": section.version + 1,
    }
    return _merge_section(DESIRED, section, patch, stamp)


def merge_reported(section: Section, patch: JsonObject, *, at: datetime) -> Section:
    """Reported properties after a merge patch, with the time in their metadata."""
    return _merge_section(REPORTED, section, patch, {"$lastUpdated": hub_time(at)})


def size_of(value: Json) -> int:
    """The size in IoT Hub's bytes: keys and strings in UTF-8 without control characters."""
    match value:
        case None:
            return 0
        case bool():
            return _BOOLEAN_BYTES
        case int() | float():
            return _NUMBER_BYTES
        case str():
            return len(_CONTROL_CHARACTERS.sub("", value).encode())
        case list():
            return sum(size_of(item) for item in value)
        case dict():
            return sum(len(key.encode()) + size_of(item) for key, item in value.items())


def _merge_section(
    rules: SectionRules, section: Section, patch: JsonObject, stamp: JsonObject
) -> Section:
    _check_object(rules, patch, depth=0)
    values, metadata = _merge(section.values, section.metadata, patch, stamp)
    _check_size(rules, values)
    return Section(values=values, metadata=metadata, version=section.version + 1)


def _merge(
    values: JsonObject, metadata: JsonObject, patch: JsonObject, stamp: JsonObject
) -> tuple[JsonObject, JsonObject]:
    values = dict(values)
    metadata = metadata | stamp
    for key, change in patch.items():
        if change is None:
            values.pop(key, None)
            metadata.pop(key, None)
        elif isinstance(change, dict):
            values[key], metadata[key] = _merge(
                _object_at(values, key), _object_at(metadata, key), change, stamp
            )
        else:
            values[key], metadata[key] = change, dict(stamp)
    return values, metadata


def _object_at(parent: JsonObject, key: str) -> JsonObject:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _check_object(rules: SectionRules, value: JsonObject, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _refused(rules, f"Objects nest deeper than {MAX_DEPTH} levels")
    for key, item in value.items():
        _check_key(rules, key)
        if item is not None:
            _check_value(rules, item, depth=depth)


def _check_value(rules: SectionRules, value: Json, *, depth: int) -> None:
    match value:
        case None:
            raise _refused(rules, "Null is not allowed in an array")
        case bool() | float():
            return
        case int():
            if not MIN_INTEGER <= value <= MAX_INTEGER:
                raise _refused(rules, f"An integer is not in {MIN_INTEGER} to {MAX_INTEGER}")
        case str():
            if _bytes_of(rules, value) > MAX_STRING_BYTES:
                raise _refused(rules, f"A string value is longer than {MAX_STRING_BYTES} bytes")
        case list():
            for item in value:
                _check_value(rules, item, depth=depth)
        case dict():
            _check_object(rules, value, depth=depth + 1)


def _check_key(rules: SectionRules, key: str) -> None:
    if _bytes_of(rules, key) > MAX_KEY_BYTES:
        raise _refused(rules, f"A key is longer than {MAX_KEY_BYTES} bytes")
    if _FORBIDDEN_IN_KEYS.search(key):
        raise _refused(rules, "A key contains a control character, '.', '$', '#' or a space")


def _bytes_of(rules: SectionRules, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise _refused(rules, "A text contains half of a surrogate pair") from error


def _check_size(rules: SectionRules, values: JsonObject) -> None:
    if size_of(values) > rules.max_bytes:
        raise _refused(rules, f"The document is larger than {rules.max_bytes} bytes")


def _refused(rules: SectionRules, reason: str) -> IotHubError:
    return IotHubError(ARGUMENT_INVALID, f"{reason} ({rules.name}).")
