"""A policy from a file, tried on a local stack."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from local_azure.kernel.service import describe
from local_azure.stack import ConnectedRegistryOptions

_IMAGES = ("hello-world", "sensor-gateway")


class _ConnectedRegistry(BaseModel, extra="allow"):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9]{4,39}$")]
    repositories: tuple[str, ...] = ()
    insecure: bool = False
    capacity: Annotated[int, Field(ge=1)] = 50


class TrialPolicy(BaseModel, extra="allow"):
    """What the stack must have; firstpull itself judges the rest of the policy."""

    connected_registries: Annotated[
        tuple[_ConnectedRegistry, ...], Field(alias="connectedRegistries", min_length=1)
    ]

    @classmethod
    def read(cls, path: str) -> TrialPolicy:
        """The policy of `--policy FILE`. Raises ArgumentTypeError."""
        try:
            policy = cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"{path}: {describe(error)}") from error
        names = [registry.name.lower() for registry in policy.connected_registries]
        if len(set(names)) < len(names):
            raise argparse.ArgumentTypeError(f"{path}: two connected registries have one name")
        return policy

    def options(self) -> tuple[ConnectedRegistryOptions, ...]:
        """The connected registries to deploy, each with the local images."""
        return tuple(
            ConnectedRegistryOptions(
                name=one.name,
                repositories=tuple(dict.fromkeys((*_IMAGES, *one.repositories))),
                insecure=one.insecure,
                max_clients=one.capacity,
            )
            for one in self.connected_registries
        )

    def on(self, local: Mapping[str, Any]) -> dict[str, object]:
        """This policy with the hub, the container registry and the addresses of the stack's."""
        own = _without_container_registries(self.model_dump(by_alias=True, exclude_unset=True))
        entries = {entry["name"]: entry for entry in local["connectedRegistries"]}
        return {
            **own,
            "hubs": local["hubs"],
            "containerRegistries": local["containerRegistries"],
            "connectedRegistries": [
                {**{k: v for k, v in one.items() if k != "endpoint"}, **entries[one["name"]]}
                for one in own["connectedRegistries"]
            ],
        }


def _without_container_registries(value: Any) -> Any:  # noqa: ANN401 - JSON
    """JSON in which nothing names a container registry: the stack has one."""
    if isinstance(value, Mapping):
        return {
            name: _without_container_registries(inner)
            for name, inner in value.items()
            if name != "containerRegistry"
        }
    if isinstance(value, list | tuple):
        return [_without_container_registries(inner) for inner in value]
    return value
