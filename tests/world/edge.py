"""What a person does to an IoT Edge device of the fake world, and whether it can pull."""

from __future__ import annotations

from typing import Any

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from local_azure.edge_agent.rules import Configuration
from local_azure.iot_hub.models import EDGE_AGENT
from local_azure.iot_hub.twins import Json, JsonObject, TwinPatch
from tests.world.cloud import Cloud
from tests.world.device import EdgeDevice

DEPLOYMENT: JsonObject = {"schemaVersion": "1.1", "runtime": {"type": "docker", "settings": {}}}
"""What `set modules` leaves in the desired properties of edgeAgent."""


class Edge:
    """One Edge device, which this registers; with a deployment unless it is not `deployed`."""

    def __init__(self, cloud: Cloud, key: DeviceKey, *, deployed: bool = True) -> None:
        self._cloud = cloud
        self.key = key
        cloud.register(key, edge=True)
        if deployed:
            self.deploy(DEPLOYMENT)

    def deploy(self, desired: JsonObject) -> None:
        """Merge into the desired properties, as an operator does."""
        self._cloud.hub.patch_twin(
            self.key.device_id, TwinPatch(desired=desired), etag=None, module_id=EDGE_AGENT
        )

    def put_credential(self, name: str, entry: Json) -> None:
        """Give or take an entry of somebody's own."""
        settings: JsonObject = {"settings": {"registryCredentials": {name: entry}}}
        self.deploy({"runtime": settings})

    @property
    def credentials(self) -> dict[str, Any]:
        """The entries in the desired properties, by name."""
        twin = self._cloud.hub.module_twin(self.key.device_id, EDGE_AGENT)
        found: Any = twin.desired.values
        for name in ("runtime", "settings", "registryCredentials"):
            found = found.get(name, {})
        return dict(found)

    @property
    def configuration(self) -> Configuration:
        """What edgeAgent read last."""
        device = self._cloud.devices[self.key]
        assert isinstance(device, EdgeDevice)
        return device.configuration

    def pulls(self, ref: ConnectedRegistryRef, address: str) -> bool:
        """Whether a pull of an image at an address succeeds at the connected registry now."""
        login = self.configuration.login_for(f"{address}/plant/app:1")
        if login is None:
            return False
        return self._cloud.site_accepts(ref, login.username, login.password)
