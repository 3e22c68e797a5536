"""The hub: its identity registry and its twins, in memory, without input or output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from local_azure.iot_hub.exceptions import (
    DEVICE_ALREADY_EXISTS,
    MODULE_ALREADY_EXISTS,
    PRECONDITION_FAILED,
    IotHubError,
    device_not_found,
)
from local_azure.iot_hub.identities import Authentication, DeviceSettings, Identity, Module
from local_azure.iot_hub.queries import MAX_ROWS, QueryPage, is_on_modules, query_page
from local_azure.iot_hub.query_index import IndexedDevice, QueryIndex
from local_azure.iot_hub.shared_access import SharedAccessPolicy
from local_azure.iot_hub.throttles import Throttle, Throttles, s1_limits
from local_azure.iot_hub.twins import (
    JsonObject,
    Section,
    Twin,
    TwinPatch,
    merge_desired,
    merge_reported,
    merge_tags,
)
from local_azure.kernel.buckets import BucketSize
from local_azure.kernel.clock import Clock

EDGE_AGENT = "$edgeAgent"
EDGE_HUB = "$edgeHub"
type _TwinKey = tuple[str, str | None]
"""A device, and a module of it or None."""
_YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DeviceCreated:
    """An identity and its twin were created."""

    identity: Identity


@dataclass(frozen=True)
class DeviceUpdated:
    """An identity was updated."""

    identity: Identity


@dataclass(frozen=True)
class DeviceDeleted:
    """An identity and its twin were deleted."""

    identity: Identity


@dataclass(frozen=True)
class DesiredPropertiesChanged:
    """A patch was merged into the desired properties, with nulls for deletions."""

    device_id: str
    patch: JsonObject
    version: int
    module_id: str | None = None


type HubEvent = DeviceCreated | DeviceUpdated | DeviceDeleted | DesiredPropertiesChanged
type Listener = Callable[[HubEvent], None]


class IotHub:
    """One hub. Every method with a device id raises IotHubError 404 for an unknown one.

    JSON documents are values: neither a caller nor the hub changes them.
    """

    def __init__(
        self,
        *,
        name: str,
        clock: Clock,
        random: Random,
        throttle_limits: Mapping[Throttle, BucketSize] | None = None,
    ) -> None:
        """`throttle_limits` of None means those of one S1 unit; `{}` turns throttling off."""
        self.name = name
        owner = SharedAccessPolicy()
        self.policies = {owner.name: owner}
        self.throttles = Throttles(
            clock=clock, limits=s1_limits() if throttle_limits is None else throttle_limits
        )
        self.index = QueryIndex(clock)
        self._clock = clock
        self._random = random
        self.module_index = QueryIndex(clock)
        self._identities: dict[str, Identity] = {}
        self._modules: dict[str, dict[str, Module]] = {}
        self._twins: dict[_TwinKey, Twin] = {}
        self._latest_generation = 0
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` after every event."""
        self._listeners.append(listener)

    def devices(self) -> list[Identity]:
        """All identities, the oldest first."""
        return list(self._identities.values())

    def device(self, device_id: str) -> Identity:
        """One identity."""
        try:
            return self._identities[device_id]
        except KeyError:
            raise device_not_found(device_id) from None

    def create_device(self, settings: DeviceSettings) -> Identity:
        """Register a device. Raises IotHubError 400, and 409 for an existing id."""
        settings = settings.completed()
        if settings.device_id in self._identities:
            raise IotHubError(
                DEVICE_ALREADY_EXISTS,
                f"A device with ID '{settings.device_id}' is already registered.",
            )
        identity = Identity(
            settings=settings,
            generation_id=self._new_generation(),
            revision=self._random.randrange(10**8, 10**9),
        )
        self._identities[identity.device_id] = identity
        self._twins[identity.device_id, None] = Twin.empty(self._clock.now())
        self._note(identity.device_id)
        self._add_runtime(identity)
        self._emit(DeviceCreated(identity))
        return identity

    def modules(self, device_id: str) -> list[Module]:
        """The modules of a device, the oldest first."""
        self.device(device_id)
        return list(self._modules.get(device_id, {}).values())

    def module(self, device_id: str, module_id: str) -> Module:
        """One module. Raises IotHubError 404 for an unknown one, as for an unknown device."""
        self.device(device_id)
        try:
            return self._modules[device_id][module_id]
        except KeyError:
            raise device_not_found(device_id) from None

    def has_module(self, device_id: str, module_id: str) -> bool:
        """Whether a device has a module; false for an unknown device."""
        return module_id in self._modules.get(device_id, {})

    def create_module(
        self,
        device_id: str,
        module_id: str,
        authentication: Authentication | None = None,
        *,
        managed_by: str | None = None,
    ) -> Module:
        """Add a module with keys to a device. Raises IotHubError 400, 404 and 409."""
        self.device(device_id)
        modules = self._modules.setdefault(device_id, {})
        if module_id in modules:
            raise IotHubError(
                MODULE_ALREADY_EXISTS, f"Device {device_id} already contains Module {module_id}."
            )
        modules[module_id] = module = Module(
            module_id=module_id,
            generation_id=self._new_generation(),
            revision=self._random.randrange(10**8, 10**9),
            authentication=(authentication or Authentication()).completed(),
            managed_by=managed_by,
        )
        self._twins[device_id, module_id] = Twin.empty(self._clock.now())
        self._note(device_id, module_id)
        return module

    def delete_module(self, device_id: str, module_id: str) -> None:
        """Delete a module and its twin. Raises IotHubError 404."""
        self.module(device_id, module_id)
        del self._modules[device_id][module_id]
        del self._twins[device_id, module_id]
        self._note(device_id, module_id)

    def deploy(self, device_id: str, *configurations: str) -> None:
        """Make automatic deployments apply to the runtime of an Edge device; none for no more.

        The local hub evaluates no target conditions, and writes nothing of a deployment.
        """
        key = device_id, EDGE_AGENT
        self._twins[key] = replace(
            self.module_twin(device_id, EDGE_AGENT), configurations=configurations
        )
        self._note(*key)

    def _add_runtime(self, identity: Identity) -> None:
        """An Edge device has the two modules of the runtime from the start."""
        for module_id in (EDGE_AGENT, EDGE_HUB) if identity.settings.iot_edge else ():
            if not self.has_module(identity.device_id, module_id):
                self.create_module(identity.device_id, module_id, managed_by="iotEdge")

    def update_device(self, settings: DeviceSettings, *, etag: str | None) -> Identity:
        """Replace all settings of a device, with new keys if the settings have none.

        `etag` of None matches any. Raises IotHubError 400, 404 and 412.
        """
        current = self.device(settings.device_id)
        _check_identity_etag(current, etag)
        identity = replace(current, settings=settings.completed(), revision=current.revision + 1)
        if identity.settings.status is not current.settings.status:
            identity = replace(identity, status_updated_at=self._clock.now())
        self._identities[identity.device_id] = identity
        self._note(identity.device_id)
        self._add_runtime(identity)
        self._emit(DeviceUpdated(identity))
        return self.device(identity.device_id)

    def delete_device(self, device_id: str, *, etag: str | None) -> None:
        """Delete a device and its twin. `etag` of None matches any. Raises 404 and 412."""
        identity = self.device(device_id)
        _check_identity_etag(identity, etag)
        for module in self.modules(device_id):
            self.delete_module(device_id, module.module_id)
        del self._identities[device_id]
        del self._twins[device_id, None]
        self._note(device_id)
        self._emit(DeviceDeleted(identity))

    def set_connected(self, device_id: str, *, connected: bool) -> None:
        """Record whether a device is connected, without changing ETags. Ignores unknown devices."""
        identity = self._identities.get(device_id)
        if identity is None or identity.connected is connected:
            return
        now = self._clock.now()
        self._identities[device_id] = replace(
            identity, connected=connected, connection_updated_at=now, last_activity_at=now
        )
        self._note(device_id)

    def twin(self, device_id: str) -> Twin:
        """One twin."""
        self.device(device_id)
        return self._twins[device_id, None]

    def module_twin(self, device_id: str, module_id: str) -> Twin:
        """The twin of a module. Raises IotHubError 404 for an unknown one."""
        self.module(device_id, module_id)
        return self._twins[device_id, module_id]

    def _twin_of(self, device_id: str, module_id: str | None) -> Twin:
        return self.twin(device_id) if module_id is None else self.module_twin(device_id, module_id)

    def patch_twin(
        self, device_id: str, patch: TwinPatch, *, etag: str | None, module_id: str | None = None
    ) -> Twin:
        """Merge a patch of the service side into a twin. `etag` of None matches any.

        The twin is the device's, or that of its module.
        An assumption: a patch increases the versions of its sections even if it changes nothing.
        Raises IotHubError 400, 404 and 412 without an effect.
        """
        current = self._twin_of(device_id, module_id)
        if etag is not None and etag != current.etag:
            raise IotHubError(PRECONDITION_FAILED, "PreconditionFailed, ETag may be invalid.")
        if patch.tags is None and patch.desired is None:
            return current
        twin = replace(current, writes=current.writes + 1, version=current.version + 1)
        if patch.tags is not None:
            twin = replace(twin, tags=merge_tags(twin.tags, patch.tags))
        if patch.desired is not None:
            desired = merge_desired(twin.desired, patch.desired, at=self._clock.now())
            twin = replace(twin, desired=desired)
        self._twins[device_id, module_id] = twin
        self._note(device_id, module_id)
        if patch.desired is not None:
            self._emit(
                DesiredPropertiesChanged(
                    device_id, patch.desired, twin.desired.version, module_id=module_id
                )
            )
        return twin

    def reset_twin(self, device_id: str, initial: TwinPatch) -> Twin:
        """Replace a twin by a new one with these tags and desired properties.

        An assumption: its versions begin anew, and the identity stays. Raises IotHubError 400
        and 404.
        """
        self.device(device_id)
        self._twins[device_id, None] = Twin.empty(self._clock.now())
        self._note(device_id)
        return self.patch_twin(device_id, initial, etag=None)

    def report(self, device_id: str, patch: JsonObject, *, module_id: str | None = None) -> Section:
        """Merge a device's or module's patch into its reported properties. Raises 400 and 404."""
        twin = self._twin_of(device_id, module_id)
        reported = merge_reported(twin.reported, patch, at=self._clock.now())
        self._twins[device_id, module_id] = replace(
            twin, reported=reported, version=twin.version + 1
        )
        self._note(device_id, module_id)
        return reported

    def query(
        self, text: str, *, most: int = MAX_ROWS, continuation: str | None = None
    ) -> QueryPage:
        """One page of a query on twins, from the index. Raises IotHubError 400."""
        index = self.module_index if is_on_modules(text) else self.index
        return query_page(index.devices(), text, most=most, continuation=continuation)

    def _note(self, device_id: str, module_id: str | None = None) -> None:
        """Give the index the present state of a device or a module."""
        identity = self._identities.get(device_id)
        twin = self._twins.get((device_id, module_id))
        if module_id is not None:
            module = self._modules.get(device_id, {}).get(module_id)
            found = IndexedDevice(identity, twin, module) if identity and twin and module else None
            self.module_index.note(f"{device_id}/{module_id}", found)
            return
        device = IndexedDevice(identity, twin) if identity and twin else None
        self.index.note(device_id, device)

    def _new_generation(self) -> str:
        """Ticks of 100 ns since the year 1, as on Azure, and never the same twice."""
        microseconds = (self._clock.now() - _YEAR_ONE) // timedelta(microseconds=1)
        self._latest_generation = max(microseconds * 10, self._latest_generation + 1)
        return str(self._latest_generation)

    def _emit(self, event: HubEvent) -> None:
        for listener in self._listeners:
            listener(event)


def _check_identity_etag(identity: Identity, etag: str | None) -> None:
    if etag is not None and etag != identity.etag:
        raise IotHubError(
            PRECONDITION_FAILED,
            "Precondition failed: Device version did not match, "
            f"existingVersion:{identity.revision}",
        )
