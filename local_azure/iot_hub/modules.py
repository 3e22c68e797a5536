"""Module identities as values: the two modules that every IoT Edge device has."""

from __future__ import annotations

from dataclasses import dataclass

from local_azure.iot_hub.identities import Authentication, revision_etag

EDGE_MODULES = ("$edgeAgent", "$edgeHub")


@dataclass(frozen=True, kw_only=True)
class ModuleIdentity:
    """A registered module."""

    device_id: str
    module_id: str
    generation_id: str
    revision: int
    authentication: Authentication
    managed_by: str = "iotEdge"

    @classmethod
    def create(
        cls, device_id: str, module_id: str, *, generation_id: str, revision: int
    ) -> ModuleIdentity:
        """A module with new keys, which the Edge runtime manages."""
        return cls(
            device_id=device_id,
            module_id=module_id,
            generation_id=generation_id,
            revision=revision,
            authentication=Authentication().completed(),
        )

    @property
    def etag(self) -> str:
        """Without quotes."""
        return revision_etag(self.revision)
