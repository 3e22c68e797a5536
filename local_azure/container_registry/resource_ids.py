"""Resource ids of a registry and its children. Azure compares them without case."""

from __future__ import annotations

from dataclasses import dataclass

PROVIDER = "Microsoft.ContainerRegistry"


@dataclass(frozen=True)
class RegistryId:
    """The id of a registry, spelled as it was created."""

    subscription_id: str
    resource_group: str
    name: str

    @property
    def key(self) -> RegistryId:
        """The same id in lower case, for comparison."""
        return RegistryId(
            self.subscription_id.lower(), self.resource_group.lower(), self.name.lower()
        )

    def child(self, kind: str, name: str) -> str:
        """The id of `tokens`, `scopeMaps` or `connectedRegistries` of this registry."""
        return f"{self}/{kind}/{name}"

    def child_name(self, kind: str, resource_id: str) -> str | None:
        """The name in a child's id, or None when the id is no such child of this registry."""
        prefix = self.child(kind, "")
        name = resource_id[len(prefix) :]
        same_parent = resource_id[: len(prefix)].lower() == prefix.lower()
        return name if same_parent and name and "/" not in name else None

    def __str__(self) -> str:
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/{PROVIDER}/registries/{self.name}"
        )
