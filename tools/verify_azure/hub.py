"""Devices of the hub that a run made."""

from __future__ import annotations

from azure.core.credentials import TokenCredential

from tools.verify_azure.create import HUB_AUDIENCE, Made
from tools.verify_azure.rest import Document, Refused, Rest

_VERSION = {"api-version": "2021-04-12"}


def register_device(made: Made, credential: TokenCredential, device_id: str) -> None:
    """Register a device. Raises Refused."""
    _send(made, credential, "PUT", f"/devices/{device_id}", {"deviceId": device_id})


def desired_properties(made: Made, credential: TokenCredential, device_id: str) -> Document:
    """The desired properties of a device. Raises Refused."""
    twin = _send(made, credential, "GET", f"/twins/{device_id}")
    desired: Document = twin["properties"]["desired"]
    return desired


def _send(
    made: Made, credential: TokenCredential, method: str, path: str, body: Document | None = None
) -> Document:
    rest = Rest(f"https://{made.hub_host}", credential=credential, audience=HUB_AUDIENCE)
    answer = rest.send(method, path, body=body, query=_VERSION)
    if answer.status >= 400:
        message = str(answer.body)[:300]
        raise Refused(f"{method} {path}", status=answer.status, code="IotHub", message=message)
    document: Document = answer.body
    return document
