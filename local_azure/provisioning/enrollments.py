"""Enrollments as values: a group of devices or one device, with the webhook that allocates."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from local_azure.kernel.clock import dotnet_time

type Json = dict[str, Any]

API_VERSION = "2021-10-01"

_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-._:]{0,126}[A-Za-z0-9])?")


class EnrollmentKind(StrEnum):
    """The kinds of enrollments, spelled as in the webhook's request."""

    GROUP = "enrollmentGroup"
    INDIVIDUAL = "individualEnrollment"


class ReprovisionPolicy(StrEnum):
    """What a later registration does to the device's twin.

    `MIGRATE` and `NEVER` keep it, because there is only one hub.
    """

    MIGRATE = "migrate"
    RESET = "reset"
    NEVER = "never"

    @property
    def document(self) -> Json:
        """The policy in an enrollment."""
        return {
            "updateHubAssignment": self is not ReprovisionPolicy.NEVER,
            "migrateDeviceData": self is ReprovisionPolicy.MIGRATE,
        }


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()


@dataclass(frozen=True, kw_only=True)
class Enrollment:
    """One enrollment with symmetric keys. `id` is the group's id or the device's registration id.

    The keys are base64 of 64 bytes. The keys of a group's devices are derived from them.
    """

    kind: EnrollmentKind
    id: str
    webhook_url: str = field(repr=False)
    enabled: bool = True
    iot_edge: bool = False
    reprovision_policy: ReprovisionPolicy = ReprovisionPolicy.MIGRATE
    device_id: str | None = None  # of an individual enrollment; the default is `id`
    primary_key: str = field(default_factory=_new_key, repr=False)
    secondary_key: str = field(default_factory=_new_key, repr=False)

    def __post_init__(self) -> None:
        check_id(self.id)
        if not re.fullmatch(r"https?://[^/?#\s]+\S*", self.webhook_url):
            raise ValueError("a webhook's URL begins with http:// or https:// and a host")
        if self.device_id is not None and self.kind is EnrollmentKind.GROUP:
            raise ValueError("a group has no deviceId")

    def device_keys(self, registration_id: str) -> tuple[str, str]:
        """The primary and secondary key of a device of this enrollment."""
        if self.kind is EnrollmentKind.INDIVIDUAL:
            return self.primary_key, self.secondary_key
        return (
            derived_key(self.primary_key, registration_id),
            derived_key(self.secondary_key, registration_id),
        )

    def document(self, *, etag: str, created_at: datetime, linked_hubs: list[str]) -> Json:
        """The enrollment in the webhook's request, without keys and without the URL's query."""
        id_name = "enrollmentGroupId" if self.kind is EnrollmentKind.GROUP else "registrationId"
        device_id = {"deviceId": self.device_id} if self.device_id is not None else {}
        created = dotnet_time(created_at)
        return {
            id_name: self.id,
            **device_id,
            "attestation": {"type": "symmetricKey"},
            "capabilities": {"iotEdge": self.iot_edge},
            "etag": f'"{etag}"',
            "provisioningStatus": "enabled" if self.enabled else "disabled",
            "reprovisionPolicy": self.reprovision_policy.document,
            "createdDateTimeUtc": created,
            "lastUpdatedDateTimeUtc": created,
            "allocationPolicy": "custom",
            "iotHubs": linked_hubs,
            "customAllocationDefinition": {
                "webhookUrl": self.shown_url,
                "apiVersion": API_VERSION,
            },
        }

    @property
    def shown_url(self) -> str:
        """The webhook's URL without its query, which may contain a key."""
        return f"{self.webhook_url.partition('?')[0]}?****"


def check_id(text: str) -> str:
    """A registration or group id. Raises ValueError."""
    if not _ID.fullmatch(text):
        raise ValueError(
            "an id is 1 to 128 of A-Z a-z 0-9 - . _ : with a letter or digit at both ends"
        )
    return text


def derived_key(group_key: str, registration_id: str) -> str:
    """The key of a group's device: HMAC-SHA256 of its registration id, in base64."""
    digest = hmac.digest(base64.b64decode(group_key), registration_id.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()
