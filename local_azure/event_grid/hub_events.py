"""The hub's events, which show a default twin and not the device's own, as in Azure."""

from __future__ import annotations

from datetime import datetime

from local_azure.event_grid.events import Json, Topic
from local_azure.event_grid.models import EventGrid
from local_azure.iot_hub.models import DeviceCreated, DeviceDeleted, HubEvent, IotHub
from local_azure.kernel.clock import Clock, dotnet_time

_YEAR_ONE = "0001-01-01T00:00:00"


def publish_hub_events(grid: EventGrid, hub: IotHub, *, clock: Clock) -> None:
    """Publish an event for every device that is created or deleted from now on."""

    def listen(event: HubEvent) -> None:
        match event:
            case DeviceCreated(identity):
                event_type = "Microsoft.Devices.DeviceCreated"
            case DeviceDeleted(identity):
                event_type = "Microsoft.Devices.DeviceDeleted"
            case _:
                return
        device_id = identity.device_id
        data = {
            "twin": _default_twin(device_id, clock.now()),
            "hubName": hub.name,
            "deviceId": device_id,
        }
        grid.publish(Topic.HUB, event_type, subject=f"devices/{device_id}", data=data)

    hub.subscribe(listen)


def _default_twin(device_id: str, now: datetime) -> Json:
    """Without the tags and capabilities of the device."""
    section = {"$metadata": {"$lastUpdated": dotnet_time(now)}, "$version": 1}
    return {
        "deviceId": device_id,
        "etag": "AAAAAAAAAAE=",
        "deviceEtag": "null",
        "status": "enabled",
        "statusUpdateTime": _YEAR_ONE,
        "connectionState": "Disconnected",
        "lastActivityTime": _YEAR_ONE,
        "cloudToDeviceMessageCount": 0,
        "authenticationType": "sas",
        "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
        "version": 2,
        "properties": {"desired": section, "reported": section},
    }
