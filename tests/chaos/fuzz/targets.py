"""What reads input from outside, and what it may answer to it. Anything else is a defect.

Each target takes bytes. Its samples are valid; the fuzzers change them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from azure.core.exceptions import DeserializationError
from azure.mgmt.containerregistry import models

from firstpull.adapters.azure_errors import retry_after_seconds
from firstpull.adapters.container_registry import resources
from firstpull.config.policy import Policy
from firstpull.intake.dps_allocation import allocate
from firstpull.intake.event_grid import read_event
from firstpull.intake.event_handler import opt_in
from firstpull.intake.json_input import read_json, read_message
from firstpull.intake.requests import (
    read_approval,
    read_batch,
    read_request,
    read_revokes_approval,
    read_rotation,
)
from firstpull.intake.webhook_signatures import verified
from firstpull.model import last_request, ledger, record_codec, revoke_count, sweep_report
from firstpull.model.azure_resources import SecretVersion, Slot, Twin
from firstpull.model.errors import FirstpullError, Invalid
from firstpull.model.pagination import place_in
from firstpull.model.secret import Secret
from firstpull.model.twin_entry import Contents, entries_in, read_acknowledgement, read_entry
from tests.firstpull.harness import HUB, PLANT_ONE, REGISTRY, make_policy

PLANT = PLANT_ONE.name
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
RECORD = Path(__file__).parents[2] / "firstpull" / "model" / "stored_record.json"
_KEY = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
_POLICY = make_policy(enrollments={"line": {"connectedRegistry": PLANT, "repositories": ["a/b"]}})
_TOKEN = str(REGISTRY.token("fp-press-1-yoln7mf4cmakqusv"))


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader, the errors by which it answers, and valid input."""

    read: Callable[[bytes], object]
    answers: tuple[type[Exception], ...]
    samples: tuple[Any, ...]

    def check(self, data: bytes) -> bool:
        """Whether the input is valid. Raises what the reader must not raise."""
        try:
            self.read(data)
        except self.answers:
            return False
        return True

    @property
    def bodies(self) -> tuple[bytes, ...]:
        """The samples as bytes."""
        return tuple(
            sample if isinstance(sample, bytes) else json.dumps(sample).encode()
            for sample in self.samples
        )


REQUEST = {
    "deviceId": "press-1",
    "hub": HUB,
    "connectedRegistry": PLANT,
    "repositories": ["plant/app", "plant/model"],
    "actions": ["content/read"],
}
_EVENT = {
    "id": "1",
    "topic": f"/SUBSCRIPTIONS/0000/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/{HUB}",
    "subject": "devices/press-1",
    "eventType": "Microsoft.Devices.DeviceCreated",
    "eventTime": "2026-05-01T12:00:00.1234567Z",
    "data": {"hubName": "hub-1", "deviceId": "press-1", "twin": {"tags": {}}},
    "dataVersion": "",
}
_CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/subscriptions/0000",
    "type": "Microsoft.KeyVault.SecretNearExpiry",
    "time": "2026-05-01T12:00:00+02:00",
    "data": {
        "Id": "https://vault.example/secrets/fp-press-1/0123",
        "VaultName": "vault",
        "ObjectName": "fp-press-1",
        "Version": "0123",
    },
}
_DPS = {
    "enrollmentGroup": {
        "enrollmentGroupId": "line",
        "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": False},
    },
    "deviceRuntimeContext": {"registrationId": "press-1", "currentIotHubHostName": HUB},
    "linkedHubs": [HUB, "other.azure-devices.net"],
}
_ENTRY = {
    "address": "plantone.site.example:8000",
    "username": "fp-press-1",
    "password": "x" * 32,
    "repositories": ["plant/app"],
    "expiresOn": "2026-07-30T12:00:00Z",
    "deliveryId": "d-1",
}
_DESIRED = {"firstpull": {"registryCredentials": {PLANT: _ENTRY}}, "theirs": [1, {"a": None}]}
_REPORTED = {
    "firstpull": {
        "registryCredentials": {PLANT: {"deliveryId": "d-1", "state": "LoggedIn", "reason": None}}
    }
}
_PASSWORD = {"name": "password1", "creationTime": "2026-05-01T12:00:00.12Z", "expiry": None}
_TOKEN_ANSWER = {
    "id": _TOKEN,
    "name": "fp-press-1",
    "type": "Microsoft.ContainerRegistry/registries/tokens",
    "properties": {
        "scopeMapId": str(REGISTRY.scope_map("fp-1")),
        "status": "enabled",
        "provisioningState": "Succeeded",
        "creationDate": "2026-05-01T12:00:00Z",
        "credentials": {"passwords": [_PASSWORD], "certificates": []},
    },
}
_SCOPE_MAP_ANSWER = {
    "id": str(REGISTRY.scope_map("fp-1")),
    "name": "fp-1",
    "properties": {
        "actions": ["repositories/plant/app/content/read"],
        "provisioningState": "Succeeded",
        "type": "UserDefined",
    },
}
_CONNECTED_ANSWER = {
    "name": PLANT,
    "properties": {
        "mode": "ReadOnly",
        "connectionState": "Online",
        "clientTokenIds": [_TOKEN],
        "loginServer": {"host": "plantone.site.example:8000", "tls": {"status": "Enabled"}},
        "parent": {
            "syncProperties": {
                "tokenId": str(REGISTRY.token(PLANT)),
                "lastSyncTime": "2026-05-01T12:00:00.1234567Z",
                "messageTtl": "P2D",
            }
        },
    },
}
_CREDENTIALS_ANSWER = {
    "username": "fp-press-1",
    "passwords": [_PASSWORD | {"value": "y" * 32}, {"name": "password2"}],
}
_SWEEP = {
    "id": "1",
    "began_at": "2026-05-01T12:00:00Z",
    "ended_at": "2026-05-01T12:01:00Z",
    "devices": 3,
}
_TAGS = {
    "askedAt": "2026-05-01T12:00:00Z",
    "generation": "3",
    "connectedRegistry": f"acrtest/{PLANT}",
    "site": "plant",
    "revokedAt": "2026-05-01T12:00:01Z",
    "repositories": "abc",
    "generationId": "g1",
}


def _other_requests(data: bytes) -> None:
    for read in (read_rotation, read_batch, read_approval, read_revokes_approval):
        with suppress(Invalid):
            read(data)


def _events(data: bytes) -> None:
    document = read_json(read_message(data))
    for event in document if isinstance(document, list) else [document]:
        read_event(event, received_at=AT)


def _parsed(data: bytes) -> Any:  # noqa: ANN401 - JSON
    """JSON as an SDK reads it; what is no JSON does not reach the reader."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _twin(data: bytes) -> None:
    twin = _parsed(data)
    if not isinstance(twin, dict):
        return
    desired, reported = (
        section if isinstance(section, dict) else {}
        for section in (twin.get("desired"), twin.get("reported"))
    )
    read_entry(desired, PLANT)
    entries_in(desired)
    read_acknowledgement(reported, PLANT)
    _CONTENTS.bytes_too_many(desired, PLANT)
    tags = twin.get("tags")
    opt_in(
        Twin(
            etag="e",
            device_etag="d",
            enabled=True,
            desired=desired,
            reported=reported,
            tags=tags if isinstance(tags, dict) else {},
        )
    )


def _arm(data: bytes) -> None:
    answer = _parsed(data)
    if not isinstance(answer, dict):
        return
    for read in (
        lambda: resources.token_from(models.Token(answer)),
        lambda: resources.scope_map_from(models.ScopeMap(answer)),
        lambda: resources.connected_registry_from(models.ConnectedRegistry(answer)),
        lambda: resources.new_password_from(
            models.GenerateCredentialsResult(answer),
            Slot.ONE,
            token="fp-press-1",  # noqa: S106
        ),
    ):
        try:
            read()
        except (FirstpullError, DeserializationError):  # `azure_errors` translates the second
            continue


def _stored(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for read in (
        lambda: record_codec.to_json(record_codec.from_json(text)),
        lambda: ledger.from_json(data),
        lambda: sweep_report.from_json(data),
        lambda: revoke_count.from_json(data),
        lambda: Policy.model_validate_json(data),
    ):
        try:
            read()
        except ValueError:
            continue


def _tags(data: bytes) -> None:
    tags = _parsed(data)
    if isinstance(tags, dict):
        texts = {name: str(value) for name, value in tags.items()}
        version = SecretVersion(
            version="v", enabled=True, expires_at=None, created_at=AT, tags=texts
        )
        last_request.last_request([version])
        last_request.latest([version])


def _text(data: bytes) -> None:
    text = data.decode(errors="replace")
    retry_after_seconds(text)
    headers = _parsed(data)
    if isinstance(headers, Mapping):
        given = {name: str(value) for name, value in headers.items()}
        with suppress(Invalid):
            verified(given, data, keys=[_KEY], now=AT)
    try:
        place_in(text)
    except ValueError:
        return


_CONTENTS = Contents(
    address="plantone.site.example:8000",
    username="fp-press-1",
    repositories=("plant/app",),
    ca=None,
    insecure=False,
)

TARGETS: dict[str, Target] = {
    "request": Target(
        read=lambda data: read_request(read_message(data)), answers=(Invalid,), samples=(REQUEST,)
    ),
    "other requests": Target(
        read=_other_requests,
        answers=(),
        samples=({"immediately": True}, {"devices": [REQUEST]}, {"id": "1"}, {"until": "x"}),
    ),
    "event": Target(
        read=_events, answers=(Invalid,), samples=(_EVENT, [_EVENT, _CLOUD_EVENT], _CLOUD_EVENT)
    ),
    "provisioning": Target(
        read=lambda data: allocate(data, _POLICY), answers=(Invalid,), samples=(_DPS,)
    ),
    "twin": Target(
        read=_twin,
        answers=(Invalid,),
        samples=(
            {
                "desired": _DESIRED,
                "reported": _REPORTED,
                "tags": {"firstpull": {"connectedRegistry": PLANT, "repositories": ["a"]}},
            },
        ),
    ),
    "answers of ARM": Target(
        read=_arm,
        answers=(),
        samples=(_TOKEN_ANSWER, _SCOPE_MAP_ANSWER, _CONNECTED_ANSWER, _CREDENTIALS_ANSWER),
    ),
    "stored": Target(
        read=_stored,
        answers=(),
        samples=(RECORD.read_bytes(), {"entries": []}, _SWEEP, {"revokes": []}),
    ),
    "tags of secrets": Target(read=_tags, answers=(), samples=(_TAGS,)),
    "headers and places": Target(
        read=_text,
        answers=(),
        samples=(
            {"webhook-id": "m", "webhook-timestamp": "1777636800", "webhook-signature": "v1,x"},
            {"webhook-id": "\ud800", "webhook-timestamp": "1777636800"},
            b"120",
            b"Fri, 01 May 2026 12:00:05 GMT",
            b"eyJhIjoxfQ",
        ),
    ),
}
