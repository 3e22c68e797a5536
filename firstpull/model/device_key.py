"""The key of a device: its hub and its id."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@$']{1,128}")
"""Device ids that IoT Hub allows (IoT Hub developer guide, identity registry)."""
_DOT_SEGMENTS = (".", "..")
"""Ids that no URL path can hold: HTTP clients remove them."""


def is_device_id(text: str) -> bool:
    """Whether IoT Hub allows this id and a URL path can hold it."""
    return DEVICE_ID.fullmatch(text) is not None and text not in _DOT_SEGMENTS


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class DeviceKey:
    """A device. `hub` is a host name; ids are unique within one hub, and case-sensitive."""

    hub: str
    device_id: str

    def digest(self, *context: str) -> str:
        """A stable hexadecimal hash of this device within a context, 64 characters."""
        text = "\x00".join((*context, self.hub, self.device_id))
        return hashlib.sha256(text.encode()).hexdigest()
