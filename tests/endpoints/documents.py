"""What callers and services send: requests, events, allocations, signed webhooks."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from local_azure.stack.options import HUB_NAME

Document = dict[str, Any]

ROLES = {"repositories": ["hello-world", "line/app"], "actions": ["content/read"]}
"""What the tests ask for, unless they say otherwise: no default of any setting."""
LONG_AGO = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def request(device_id: str, **changes: Any) -> Document:  # noqa: ANN401 - JSON
    """An onboarding request at the connected registry `doorone`; `...` takes a field out."""
    return changed(
        {"deviceId": device_id, "connectedRegistry": "doorone", **ROLES}, changes=changes
    )


def changed(document: Mapping[str, Any], *, changes: Mapping[str, Any]) -> Document:
    """A document with changes; `...` takes a field out."""
    return {key: value for key, value in {**document, **changes}.items() if value is not ...}


def body_of(document: object) -> bytes:
    """JSON, as it is sent."""
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def in_base64(document: object) -> bytes:
    """JSON in base64, as Event Grid writes it into a queue."""
    return base64.b64encode(body_of(document))


def device_event(
    device_id: str,
    *,
    kind: str = "Microsoft.Devices.DeviceCreated",
    hub: str = HUB_NAME,
    at: datetime | str = LONG_AGO,
    **data: Any,  # noqa: ANN401 - JSON
) -> Document:
    """An event of a hub in Event Grid's schema, with the placeholder twin that such events have."""
    twin = {
        "deviceId": device_id,
        "etag": "AAAAAAAAAAE=",
        "deviceEtag": "null",
        "status": "enabled",
        "connectionState": "Disconnected",
        "tags": {"firstpull": {"connectedRegistry": "doorsmall", "repositories": ["line/forged"]}},
        "properties": {"desired": {"$version": 1}, "reported": {"$version": 1}},
    }
    return {
        "id": secrets.token_hex(16),
        "topic": f"/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/{hub}",
        "subject": f"devices/{device_id}",
        "eventType": kind,
        "eventTime": at if isinstance(at, str) else _seven_digits(at),
        "data": changed({"twin": twin, "hubName": hub, "deviceId": device_id}, changes=data),
        "dataVersion": "1",
        "metadataVersion": "1",
    }


def secret_event(
    vault_url: str, secret: str, version: str, *, kind: str = "SecretNewVersionCreated"
) -> Document:
    """An event of a vault in Event Grid's schema."""
    return {
        "id": secrets.token_hex(16),
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v",
        "subject": secret,
        "eventType": f"Microsoft.KeyVault.{kind}",
        "eventTime": _seven_digits(LONG_AGO),
        "data": {
            "Id": f"{vault_url}/secrets/{secret}/{version}",
            "VaultName": "v",
            "ObjectType": "Secret",
            "ObjectName": secret,
            "Version": version,
            "NBF": None,
            "EXP": "1559082102",
        },
        "dataVersion": "1",
        "metadataVersion": "1",
    }


def as_cloud_event(event: Mapping[str, Any]) -> Document:
    """The same event in the schema of CloudEvents 1.0."""
    return {
        "specversion": "1.0",
        "id": event["id"],
        "source": event["topic"],
        "subject": event["subject"],
        "type": event["eventType"],
        "time": event["eventTime"],
        "data": event["data"],
    }


def allocation(
    device_id: str,
    *,
    hubs: list[str],
    group: str | None = "line",
    individual: str | None = None,
    **device: Any,  # noqa: ANN401 - JSON
) -> Document:
    """What a provisioning service sends to a custom allocation."""
    document: Document = {
        "deviceRuntimeContext": {
            "registrationId": device_id,
            "symmetricKey": {},
            "payload": {"connectedRegistry": "doorsmall"},
            **device,
        },
        "linkedHubs": hubs,
    }
    if group is not None:
        document["enrollmentGroup"] = {"enrollmentGroupId": group, "allocationPolicy": "custom"}
    if individual is not None:
        document["individualEnrollment"] = {"registrationId": individual, "deviceId": device_id}
    return document


def signed(
    body: bytes, *, key: str, at: datetime | None = None, message_id: str | None = None
) -> dict[str, str]:
    """The headers of Standard Webhooks for a body. `at` is now unless given."""
    at = at or datetime.now(UTC)
    message_id = message_id or f"msg_{secrets.token_hex(8)}"
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(key).sign(message_id, at, body.decode()),
    }


def new_webhook_key() -> str:
    """A signing key."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _seven_digits(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f7Z")
