"""A fleet of devices that have logged in, put into the local Azure without calling it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import batched

from azure.data.tables.aio import TableServiceClient
from pydantic import SecretStr

from firstpull.adapters.storage.account import RECORDS_TABLE
from firstpull.adapters.storage.records import _entity as entity_of
from firstpull.cloud import NewPassword, Place, RegistryId, Slot, TokenId
from firstpull.credentials import tags_for
from firstpull.delivery import Contents
from firstpull.devices import DeviceKey
from firstpull.ledger import Entry, Ledger, Standing
from firstpull.naming import Names, names_for, scope_map_name
from firstpull.ports import Ledgers
from firstpull.reasons import Reason
from firstpull.records import Condition, Delivery, DeviceRecord, Intent, State, new_record
from firstpull.secret import Secret
from local_azure.container_registry.models import Registry
from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.twins import JsonObject, TwinPatch
from local_azure.key_vault.models import Properties
from local_azure.stack import Stack
from local_azure.stack.sites import Site

CLIENTS = 50
"""Devices at one connected registry: as many as it takes."""
_TRANSACTION = 100
"""Entities that a table takes in one transaction."""
_VALIDITY = timedelta(days=90)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Devices as a deployment leaves them, half an hour after they have logged in."""

    stack: Stack
    deployment: str
    size: int
    now: datetime

    async def put_in(self, ledgers: Ledgers) -> None:
        """Put all of it in: 50 devices at each connected registry, in their order."""
        devices = (self._device(number) for number in range(self.size))
        records: list[DeviceRecord] = []
        groups = batched(devices, CLIENTS, strict=False)
        for site, clients in zip(self.stack.sites.all(), groups, strict=True):
            place = Place(registry=self._registry_id, connected_registry=site.options.name)
            there = [self._onboarded(device, place, site) for device in clients]
            ids = tuple(self._token_id(record.names) for record in there if record.names)
            self._registry.update_connected_registry(
                place.connected_registry, ConnectedRegistryChanges(client_token_ids=ids)
            )
            await ledgers.put(place, self._ledger(ids), etag=None)
            records += there
        await self._store(records)

    def _onboarded(self, device: DeviceKey, place: Place, site: Site) -> DeviceRecord:
        """Identity, scope map, token, password, secret and twin of one device; its record."""
        record = new_record(device, self._intent(place))
        names = names_for(device, deployment=self.deployment, registry=place.registry)
        password = self._password(names, record.intent.scope_actions)
        version = self._secret(device, names, password)
        contents = Contents(
            address=site.endpoint,
            username=names.token,
            secret_version=version,
            expires_at=password.expires_at or self.now,
            repositories=record.intent.repositories,
            ca=self.stack.ca_pem,
            insecure=False,
        )
        identity = self.stack.hub.create_device(DeviceSettings(device.device_id))
        self._deliver(device, place, contents, password)
        delivery = Delivery(
            id=contents.delivery_id(password.value),
            slot=password.slot,
            secret_version=version,
            address=site.endpoint,
            expires_at=contents.expires_at,
            at=self.now,
        )
        return replace(
            record,
            condition=Condition(
                state=State.READY,
                reason=Reason.ACKNOWLEDGED,
                message="The device has logged in.",
                since=self.now,
            ),
            due_at=self.now + _VALIDITY / 2,
            observed_generation=record.generation,
            place=place,
            names=names,
            delivery=delivery,
            acknowledged_at=self.now,
            observed_at=self.now,
            hub_generation_id=identity.generation_id,
            hub_device_etag=identity.etag,
        )

    def _password(self, names: Names, actions: frozenset[str]) -> NewPassword:
        scope_map = scope_map_name(actions, deployment=self.deployment)
        self._registry.put_scope_map(scope_map, actions=sorted(actions))
        scope_map_id = self._registry.registry_id.child("scopeMaps", scope_map)
        self._registry.put_token(names.token, scope_map_id=scope_map_id)
        expires_at = (self.now + _VALIDITY).replace(microsecond=0)
        made = self._registry.generate_credentials(
            self._token_id(names), name="password1", expiry=expires_at
        )
        return NewPassword(
            slot=Slot.ONE,
            created_at=made.passwords[0].password.creation_time,
            expires_at=expires_at,
            value=Secret(made.value_of("password1")),
        )

    def _secret(self, device: DeviceKey, names: Names, password: NewPassword) -> str:
        more = {
            "deployment": self.deployment,
            "hub": device.hub,
            "deviceId": device.device_id,
            "token": names.token,
        }
        properties = Properties(tags=tags_for(password, more=more))
        stored = self.stack.vault.set(names.secret, SecretStr(password.value.reveal()), properties)
        return stored.version

    def _deliver(
        self, device: DeviceKey, place: Place, contents: Contents, password: NewPassword
    ) -> None:
        entry = {
            **contents.without_password(),
            "password": password.value.reveal(),
            "deliveryId": contents.delivery_id(password.value),
        }
        desired: JsonObject = {
            "firstpull": {"registryCredentials": {place.connected_registry: entry}}
        }
        self.stack.hub.patch_twin(device.device_id, TwinPatch(desired=desired), etag=None)

    def _ledger(self, ids: tuple[TokenId, ...]) -> Ledger:
        ledger = Ledger()
        for token_id in ids:
            entry = Entry(token_id=token_id, standing=Standing.MEMBER, since=self.now)
            ledger = ledger.with_entry(entry)
        return ledger

    async def _store(self, records: list[DeviceRecord]) -> None:
        text = self.stack.storage.connection_string
        async with TableServiceClient.from_connection_string(text) as tables:
            table = tables.get_table_client(RECORDS_TABLE)
            for batch in batched(records, _TRANSACTION, strict=False):
                await table.submit_transaction(("create", entity_of(record)) for record in batch)

    def _intent(self, place: Place) -> Intent:
        return Intent(
            target=place.connected_registry,
            candidates=(place,),
            repositories=("hello-world",),
            actions=("content/read",),
            requested_by="a benchmark",
            at=self.now,
        )

    def _device(self, number: int) -> DeviceKey:
        return DeviceKey(hub=self.stack.iot_hub_host_name, device_id=f"device-{number:05}")

    def _token_id(self, names: Names) -> TokenId:
        return TokenId(f"{self._registry_id}/tokens/{names.token}")

    @property
    def _registry_id(self) -> RegistryId:
        return RegistryId(self.stack.registry_id)

    @property
    def _registry(self) -> Registry:
        return self.stack.cloud.registries()[0]
