"""The options of a stack, and its fixed names and ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from local_azure.container_registry.models import OperationLengths
from local_azure.event_grid import EventSubscription, StorageQueue, Topic
from local_azure.event_grid.models import DeliverySettings
from local_azure.stack.listeners import Wire

SUBSCRIPTION_ID = "10c41a2e-0000-4000-8000-000000000001"
TENANT_ID = "10c41a2e-0000-4000-8000-000000000002"
PRINCIPAL_ID = "10c41a2e-0000-4000-8000-000000000003"
CLIENT_ID = "10c41a2e-0000-4000-8000-000000000004"
OPERATOR_PRINCIPAL_ID = "10c41a2e-0000-4000-8000-000000000005"
OPERATOR_CLIENT_ID = "10c41a2e-0000-4000-8000-000000000006"
RESOURCE_GROUP = "local-azure"
REGISTRY_NAME = "localregistry"
HUB_NAME = "local-hub"
VAULT_NAME = "local-vault"
APP_ROLES = Path(__file__).parents[2] / "infra" / "roles.json"
"""The roles that Bicep assigns to the app's identity."""
DEVICE_EVENTS_QUEUE = "device-events"
_ALL_EVENTS_TO_THE_QUEUE = tuple(
    EventSubscription(
        name=f"{topic}-to-queue", topic=topic, destination=StorageQueue(DEVICE_EVENTS_QUEUE)
    )
    for topic in Topic
)


@dataclass(frozen=True, kw_only=True)
class ConnectedRegistryOptions:
    """A connected registry to deploy.

    `sync_every_seconds` of None means its cron schedule, once a minute. `insecure` means plain
    HTTP.
    """

    name: str
    repositories: tuple[str, ...] = ("hello-world", "sensor-gateway")
    sync_every_seconds: float | None = 3.0
    insecure: bool = False
    max_clients: int = 50


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """A stack. `throttled`: whether the token buckets of ARM and IoT Hub apply.

    `app_roles`: the file with the roles of the app. `storage_on_disk`: Azurite can be ended and
    started again. `wire`: what the services are reached through, but MQTT.
    """

    seed: int
    connected_registries: tuple[ConnectedRegistryOptions, ...]
    operation_lengths: OperationLengths = field(default_factory=OperationLengths)
    throttled: bool = True
    app_roles: Path = APP_ROLES
    event_delivery: DeliverySettings = field(default_factory=DeliverySettings)
    event_subscriptions: tuple[EventSubscription, ...] = _ALL_EVENTS_TO_THE_QUEUE
    storage_on_disk: bool = False
    wire: Wire | None = None
