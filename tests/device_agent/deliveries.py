from __future__ import annotations

from typing import Any

from firstpull_agent.deliveries import Delivery, read_deliveries

from .fake_registry import AUTHORITY, FakeRegistry

PASSWORD = "pass+word/with=signs"  # noqa: S105 - of a registry that lives for one test
USERNAME = "device-1"


def entry(address: object, **changes: object) -> dict[str, Any]:
    """A delivery as it stands in the desired properties; a change to None leaves a field out."""
    fields: dict[str, Any] = {
        "address": address,
        "username": USERNAME,
        "password": PASSWORD,
        "deliveryId": "delivery-1",
        "expiresOn": "2027-02-21T10:00:00Z",
        "repositories": ["samples/*", "hello-world"],
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def entry_for(registry: FakeRegistry, **changes: object) -> dict[str, Any]:
    trust = {"ca": [AUTHORITY.ca_pem[:300], AUTHORITY.ca_pem[300:]]} if registry.secure else {}
    fields = {"address": registry.address, "insecure": not registry.secure, **trust, **changes}
    return entry(**fields)


def desired(**entries: object) -> dict[str, Any]:
    return {"firstpull": {"registryCredentials": entries}, "$version": 7}


def delivery(address: str = "127.0.0.1:5000", **changes: object) -> Delivery:
    read = read_deliveries(desired(site1=entry(address, **changes)))["site1"]
    assert isinstance(read, Delivery), read
    return read
