"""The hub: its identity registry and its twins, in memory, without input or output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from local_azure.iot_hub.exceptions import (
    DEVICE_ALREADY_EXISTS,
    PRECONDITION_FAILED,
    IotHubError,
    device_not_found,
)
from local_azure.iot_hub.identities import (
    EDGE_MODULES,
    DeviceSettings,
    Identity,
    ModuleIdentity,
)
from local_azure.iot_hub.queries import MAX_ROWS, QueryPage, query_page
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

_YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DeviceCreated:
    """An identity entered the registry, with a new twin."""

    identity: Identity


@dataclass(frozen=True)
class DeviceUpdated:
    """An identity was written again: keys, status or capabilities may differ."""

    identity: Identity


@dataclass(frozen=True)
class DeviceDeleted:
    """An identity left the registry, and its twin with it."""

    identity: Identity


@dataclass(frozen=True)
class DesiredPropertiesChanged:
    """What was merged into the desired properties, with nulls for what went."""

    device_id: str
    patch: JsonObject
    version: int


type HubEvent = DeviceCreated | DeviceUpdated | DeviceDeleted | DesiredPropertiesChanged
type Listener = Callable[[HubEvent], None]


class IotHub:
    """One hub. Every method that takes a device id raises IotHubError 404 for an unknown one.

    A `module_id` of None means the device's own twin. Edge devices have the modules of the Edge
    runtime from the start; other modules are not served.

    JSON documents are values: a caller changes neither what it passes nor what it gets.
    """

    def __init__(
        self,
        *,
        name: str,
        clock: Clock,
        random: Random,
        throttle_limits: Mapping[Throttle, BucketSize] | None = None,
    ) -> None:
        """`throttle_limits` of None are those of S1 with one unit; `{}` switches them off."""
        self.name = name
        owner = SharedAccessPolicy()
        self.policies = {owner.name: owner}
        self.throttles = Throttles(
            clock=clock, limits=s1_limits() if throttle_limits is None else throttle_limits
        )
        self.index = QueryIndex(clock)
        self._clock = clock
        self._random = random
        self._identities: dict[str, Identity] = {}
        self._modules: dict[str, dict[str, ModuleIdentity]] = {}
        self._twins: dict[tuple[str, str | None], Twin] = {}
        self._latest_generation = 0
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every event, after it took effect, in order."""
        self._listeners.append(listener)

    def devices(self) -> list[Identity]:
        """All identities, oldest first."""
        return list(self._identities.values())

    def device(self, device_id: str) -> Identity:
        """One identity."""
        try:
            return self._identities[device_id]
        except KeyError:
            raise device_not_found(device_id) from None

    def create_device(self, settings: DeviceSettings) -> Identity:
        """Register a device. Raises IotHubError 400 for bad settings, 409 for a known id."""
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
        self._fit_edge_modules(identity)
        self._note(identity.device_id)
        self._emit(DeviceCreated(identity))
        return identity

    def update_device(self, settings: DeviceSettings, *, etag: str | None) -> Identity:
        """Replace a device's settings whole: keys that are not named are made anew.

        `etag` of None is any. Raises IotHubError 400, 404 and 412.
        """
        current = self.device(settings.device_id)
        _check_identity_etag(current, etag)
        identity = replace(current, settings=settings.completed(), revision=current.revision + 1)
        if identity.settings.status is not current.settings.status:
            identity = replace(identity, status_updated_at=self._clock.now())
        self._identities[identity.device_id] = identity
        self._fit_edge_modules(identity)
        self._note(identity.device_id)
        self._emit(DeviceUpdated(identity))
        return self.device(identity.device_id)

    def delete_device(self, device_id: str, *, etag: str | None) -> None:
        """Remove a device and its twin. `etag` of None is any. Raises IotHubError 404 and 412."""
        identity = self.device(device_id)
        _check_identity_etag(identity, etag)
        del self._identities[device_id]
        del self._twins[device_id, None]
        self._remove_modules(device_id)
        self._note(device_id)
        self._emit(DeviceDeleted(identity))

    def set_connected(self, device_id: str, *, connected: bool) -> None:
        """Record that a device connected or disconnected; ETags stay. An unknown one is ignored."""
        identity = self._identities.get(device_id)
        if identity is None or identity.connected is connected:
            return
        now = self._clock.now()
        self._identities[device_id] = replace(
            identity, connected=connected, connection_updated_at=now, last_activity_at=now
        )
        self._note(device_id)

    def module(self, device_id: str, module_id: str) -> ModuleIdentity:
        """One module of a device, which has it."""
        return self._modules[device_id][module_id]

    def twin(self, device_id: str, module_id: str | None = None) -> Twin:
        """One twin. A missing module is reported as a missing device."""
        self.device(device_id)
        try:
            return self._twins[device_id, module_id]
        except KeyError:
            raise device_not_found(f"{device_id}/{module_id}") from None

    def patch_twin(
        self, device_id: str, patch: TwinPatch, *, etag: str | None, module_id: str | None = None
    ) -> Twin:
        """Merge a patch of the service side into a twin. `etag` of None is any.

        The version of a section that the patch names moves even when nothing in it changes: an
        assumption. Raises IotHubError 400, 404 and 412; then nothing took effect.
        """
        current = self.twin(device_id, module_id)
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
        self._note(device_id)
        if patch.desired is not None and module_id is None:
            self._emit(DesiredPropertiesChanged(device_id, patch.desired, twin.desired.version))
        return twin

    def report(self, device_id: str, patch: JsonObject, *, module_id: str | None = None) -> Section:
        """Merge a patch of the device's own into its reported properties. Raises 400 and 404."""
        twin = self.twin(device_id, module_id)
        reported = merge_reported(twin.reported, patch, at=self._clock.now())
        self._twins[device_id, module_id] = replace(
            twin, reported=reported, version=twin.version + 1
        )
        self._note(device_id)
        return reported

    def query(
        self, text: str, *, most: int = MAX_ROWS, continuation: str | None = None
    ) -> QueryPage:
        """One page of a query on device twins, from the index. Raises IotHubError 400."""
        return query_page(self.index.devices(), text, most=most, continuation=continuation)

    def _note(self, device_id: str) -> None:
        """Give the index the present state of a device."""
        identity = self._identities.get(device_id)
        twin = self._twins.get((device_id, None))
        device = IndexedDevice(identity, twin) if identity and twin else None
        self.index.note(device_id, device)

    def _fit_edge_modules(self, identity: Identity) -> None:
        """Give an Edge device the runtime's modules; a device that stops being one loses them."""
        device_id = identity.device_id
        if not identity.settings.iot_edge:
            self._remove_modules(device_id)
            self._modules[device_id] = {}
        elif not self._modules.get(device_id):
            self._modules[device_id] = {
                module_id: ModuleIdentity(
                    device_id, module_id, self._random.randrange(10**8, 10**9)
                )
                for module_id in EDGE_MODULES
            }
            for module_id in EDGE_MODULES:
                self._twins[device_id, module_id] = Twin.empty(self._clock.now())

    def _remove_modules(self, device_id: str) -> None:
        for module_id in self._modules.pop(device_id, {}):
            del self._twins[device_id, module_id]

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
