"""Which device is meant."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@$']{1,128}")
"""The ids that IoT Hub allows (Azure IoT Hub's developer guide, identity registry)."""
_PATHS = (".", "..")
"""Ids that no address can hold: clients fold them away."""


def is_device_id(text: str) -> bool:
    """Whether a device can have this id, and be asked for by it."""
    return DEVICE_ID.fullmatch(text) is not None and text not in _PATHS


@dataclass(frozen=True, kw_only=True, order=True)
class DeviceKey:
    """A device id is unique below its hub only, and case-sensitive. `hub` is a host name."""

    hub: str
    device_id: str

    def digest(self, *context: str) -> str:
        """A stable hexadecimal hash of this device within a context, 64 characters."""
        text = "\x00".join((*context, self.hub, self.device_id))
        return hashlib.sha256(text.encode()).hexdigest()
