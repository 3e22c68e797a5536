"""Implements `Hubs` with azure-iot-hub, a synchronous SDK that runs in threads here."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import batched
from typing import Any

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import AzureError
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import QueryResult, QuerySpecification, TwinProperties
from azure.iot.hub.models import Twin as TwinResource
from msrest.exceptions import ClientException, HttpOperationError

from firstpull.adapters.azure_errors import READ_DEADLINE, retry_after_seconds, translate_status
from firstpull.model.azure_resources import ListedDevice, Twin
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import Blocked, FirstpullError, Transient
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret

_SERVICE = "IoT Hub"
_THREADS = 16
"""For each hub, so that one that does not answer occupies its own only."""
_THROTTLE_PAUSE = 10.0
"""Seconds that IoT Hub's message names after a 429, which has no Retry-After."""
_OUR_DEVICES = (
    "SELECT * FROM devices "
    "WHERE is_defined(tags.firstpull) OR is_defined(properties.desired.firstpull)"
)
"""The devices that opt in or have a delivery; a hub may have many others."""
_LISTING_DEADLINE = timedelta(minutes=4)
"""For all pages together, with the pauses that the hub asks for."""
_IDS_IN_A_QUERY = 50
"""A query may have 8,192 characters, and an id 128."""
_PAGE_SIZE = "100"
"""The most devices that a page of a query holds (iot-hub-devguide-query-language)."""


class FixedAudience:
    """A credential for one audience: the SDK knows only that of the public cloud."""

    def __init__(self, credential: TokenCredential, audience: str) -> None:
        self._credential = credential
        self._scope = f"{audience}/.default"

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """A token for the audience, whatever scope the SDK asks for."""
        return self._credential.get_token(self._scope)


class _Line:
    """What one hub has for itself: its manager, its threads, and whether it answers.

    After a hub did not answer, one call at a time waits for it and the others fail at once: they
    would occupy the workers.
    """

    def __init__(self, hub: str, credential: TokenCredential) -> None:
        self._hub, self._credential = hub, credential
        self._manager: IoTHubRegistryManager | None = None
        self._making = threading.Lock()
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"iot-hub {hub}")
        self._is_silent = False
        self._waiting = 0

    def manager(self, deadline_seconds: float) -> IoTHubRegistryManager:
        """The hub's manager, for a thread: making one may take a request for a bearer token."""
        if not self._making.acquire(timeout=deadline_seconds):  # whoever waits has given up by now
            raise TimeoutError
        try:
            if self._manager is None:
                self._manager = IoTHubRegistryManager.from_token_credential(
                    self._hub, self._credential
                )
                # No retries: the record's schedule retries a failed pass.
                self._manager.protocol.config.retry_policy.retries = 0
            self._manager.protocol.config.connection.timeout = deadline_seconds
            return self._manager
        finally:
            self._making.release()

    @contextmanager
    def call(self, deadline_seconds: float) -> Iterator[None]:
        """A call that may wait for an answer. Raises Transient where another one does already."""
        if self._is_silent and self._waiting:
            raise _unavailable("it is silent, and another call waits for it")
        self._waiting += 1
        try:
            yield
        except TimeoutError:
            self._is_silent = True
            raise _unavailable(f"no answer within {deadline_seconds:.0f} s") from None
        except HttpOperationError:
            self._is_silent = False
            raise
        else:
            self._is_silent = False
        finally:
            self._waiting -= 1


class IotHubAdapter:
    """Implements `Hubs`. It has a line to each hub, made without a call.

    `service_host` gives the host name to call, by the hub's name in records.
    """

    def __init__(
        self,
        credential: TokenCredential,
        clock: Clock,
        *,
        service_host: Callable[[str], str] = str,
    ) -> None:
        self._credential = credential
        self._service_host = service_host
        self._clock = clock
        self._lines: dict[str, _Line] = {}

    async def twin(self, device: DeviceKey) -> Twin | None:
        """The twin, None if the hub has no such device."""
        found = await self._call(device.hub, lambda hub: hub.get_twin(device.device_id))
        return _twin(found) if found is not None else None

    async def module_twin(self, device: DeviceKey, module: str) -> Twin | None:
        """The twin of a module, None if the hub has no such module."""
        found = await self._call(
            device.hub, lambda hub: hub.get_module_twin(device.device_id, module)
        )
        return _twin(found) if found is not None else None

    async def generation_id(self, device: DeviceKey) -> str | None:
        """The identity's generationId, None without an identity."""
        found = await self._call(device.hub, lambda hub: hub.get_device(device.device_id))
        return str(found.generation_id) if found is not None else None

    async def patch_desired(
        self,
        device: DeviceKey,
        patch: Mapping[str, Any],
        *,
        etag: str,
        deadline_seconds: float,
        module: str | None = None,
    ) -> None:
        """Merge a patch into the desired properties. Raises Conflict if the ETag has changed."""

        def send(hub: IoTHubRegistryManager) -> Any:
            # Built in the call, so that the revealed password lives no longer than the call.
            change = TwinResource(properties=TwinProperties(desired=_revealed(patch)))
            if module is not None:
                return hub.update_module_twin(device.device_id, module, change, etag)
            return hub.update_twin(device.device_id, change, etag)

        updated = await self._call(device.hub, send, deadline_seconds=deadline_seconds)
        if updated is None:
            raise Transient(
                Reason.DEVICE_NOT_REGISTERED, "The hub no longer has the device.", retry_after=1
            )

    async def list_devices(self, hub: str) -> tuple[ListedDevice, ...]:
        """The devices of a hub that opt in or have a delivery.

        A hub gives 20 pages a minute and unit, so this may wait for a page. Raises Transient
        if all pages take longer than the deadline.
        """
        give_up = self._clock.now() + _LISTING_DEADLINE
        return tuple(await self._pages(hub, _OUR_DEVICES, give_up=give_up))

    async def list_modules(self, hub: str, module: str) -> tuple[ListedDevice, ...]:
        """The twins of all modules of this name; waits and raises like `list_devices`."""
        give_up = self._clock.now() + _LISTING_DEADLINE
        # A name of a module is firstpull's own, and its JSON is a literal of a query.
        query = f"SELECT * FROM devices.modules WHERE moduleId IN {json.dumps([module])}"  # noqa: S608 - above
        return tuple(await self._pages(hub, query, give_up=give_up))

    async def find_devices(self, hub: str, device_ids: Sequence[str]) -> tuple[ListedDevice, ...]:
        """The devices among these that the hub has; waits and raises like `list_devices`."""
        give_up = self._clock.now() + _LISTING_DEADLINE
        found: list[ListedDevice] = []
        for ids in batched(device_ids, _IDS_IN_A_QUERY, strict=False):
            # An id has neither double quotes nor backslashes, so its JSON is a literal of a query.
            query = f"SELECT * FROM devices WHERE deviceId IN {json.dumps(ids)}"  # noqa: S608 - above
            found += await self._pages(hub, query, give_up=give_up)
        return tuple(found)

    async def close(self) -> None:
        """Let the threads end."""
        for line in self._lines.values():
            line.threads.shutdown(wait=False, cancel_futures=True)

    async def _pages(self, hub: str, query: str, *, give_up: datetime) -> list[ListedDevice]:
        devices: list[ListedDevice] = []
        texts: dict[str, str] = {}
        after: str | None = None
        while True:
            page = await self._page(hub, query, after=after, give_up=give_up)
            devices += (_listed(found, texts) for found in page.items)
            after = page.continuation_token
            if not after:
                return devices

    async def _page(
        self, hub: str, query: str, *, after: str | None, give_up: datetime
    ) -> QueryResult:
        asked = QuerySpecification(query=query)
        while True:
            try:
                page = await self._call(
                    hub, lambda manager: manager.query_iot_hub(asked, after, _PAGE_SIZE)
                )
            except Transient as error:
                pause = error.retry_after or _THROTTLE_PAUSE
                late = self._clock.now() + timedelta(seconds=pause) > give_up
                if error.reason is not Reason.THROTTLED or late:
                    raise
                await self._clock.sleep(pause)
                continue
            if page is None:
                raise _unavailable("404 to a query")
            return page

    async def _call(
        self,
        hub: str,
        call: Callable[[IoTHubRegistryManager], Any],
        *,
        deadline_seconds: float = READ_DEADLINE,
    ) -> Any:
        """The result of a call, None after a 404: no such device."""
        line, loop = self._line(hub), asyncio.get_running_loop()

        def run() -> Any:
            return call(line.manager(deadline_seconds))

        try:
            with line.call(deadline_seconds):
                async with asyncio.timeout(deadline_seconds):
                    # In the caller's context: the requests of a pass belong to its trace.
                    context = contextvars.copy_context()
                    return await loop.run_in_executor(line.threads, context.run, run)
        except HttpOperationError as error:
            if error.response is not None and error.response.status_code == 404:
                return None
            raise _translated(error) from None
        except (ClientException, AzureError) as error:  # the second without a bearer token
            raise _unavailable(type(error).__name__) from None

    def _line(self, hub: str) -> _Line:
        host = self._service_host(hub)
        if host not in self._lines:
            self._lines[host] = _Line(host, self._credential)
        return self._lines[host]


def _twin(resource: TwinResource) -> Twin:
    return Twin(
        etag=resource.etag,
        device_etag=resource.device_etag,
        enabled=resource.status == "enabled",
        desired=resource.properties.desired or {},
        reported=resource.properties.reported or {},
        tags=resource.tags or {},
        is_edge=resource.capabilities is not None and bool(resource.capabilities.iot_edge),
        configurations=_configurations(resource),
    )


def _listed(resource: TwinResource, texts: dict[str, str]) -> ListedDevice:
    """A device or module of a listing, of which a process holds thousands.

    Equal texts are stored once: a fleet's are mostly alike. A device's stamps, which are as long
    as what they stamp, are left out: only those of modules tell something.
    """

    def shared(value: Any) -> Any:
        if isinstance(value, str):
            return texts.setdefault(value, value)
        if isinstance(value, dict):
            return {shared(k): shared(v) for k, v in value.items() if k not in left_out}
        return [shared(each) for each in value] if isinstance(value, list) else value

    left_out = () if resource.module_id else ("$metadata",)
    twin = _twin(resource)
    twin = replace(twin, desired=shared(twin.desired), reported=shared(twin.reported))
    return ListedDevice(device_id=resource.device_id, twin=twin)


def _configurations(resource: TwinResource) -> tuple[str, ...]:
    """The automatic deployments that have the twin as a target; the SDK's model has no field."""
    found = resource.additional_properties.get("configurations")
    return tuple(sorted(found)) if isinstance(found, Mapping) else ()


def _revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: _revealed(inner) for key, inner in value.items()}
    return value


def _translated(error: HttpOperationError) -> FirstpullError:
    response = error.response
    if response is None:
        return _unavailable(type(error).__name__)
    code = str(response.headers.get("iothub-errorcode", ""))
    retry_after = retry_after_seconds(response.headers.get("Retry-After"))
    if response.status_code == 429:
        retry_after = retry_after or _THROTTLE_PAUSE
    if response.status_code == 400 and code in ("ArgumentInvalid", "DeviceTwinTooLarge"):
        return Blocked(
            Reason.TWIN_FULL,
            f"{_SERVICE} answered 400 {code} to the credentials.",
            remedy="Make room in the twin's desired properties: 32 KB in all, 4 KB a string.",
        )
    return translate_status(
        _SERVICE, status=response.status_code, code=code, retry_after=retry_after
    )


def _unavailable(what: str) -> Transient:
    return Transient(Reason.SERVICE_UNAVAILABLE, f"{_SERVICE} did not answer: {what}.")
