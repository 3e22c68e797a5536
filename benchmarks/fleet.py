"""A fleet of devices that have logged in, put into the local Azure's models directly."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import batched

from azure.data.tables.aio import TableServiceClient
from pydantic import SecretStr

from firstpull.adapters.storage.account import RECORDS_TABLE
from firstpull.adapters.storage.records import _entity as entity_of
from firstpull.bootstrap import connect
from firstpull.config.settings import read_settings
from firstpull.model.azure_resources import (
    ConnectedRegistryRef,
    NewPassword,
    RegistryId,
    Slot,
    TokenId,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import (
    Condition,
    Delivery,
    DeviceRecord,
    Grant,
    Intent,
    Schedule,
    State,
    Status,
)
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.naming import Names, names_for, scope_map_name
from firstpull.model.password_slots import tags_for
from firstpull.model.ports import Ledgers
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from firstpull.model.transitions import new_record
from firstpull.model.twin_entry import Contents
from local_azure.commands.function_app import app_settings
from local_azure.container_registry.models import Registry
from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.twins import JsonObject, TwinPatch
from local_azure.key_vault.models import Properties
from local_azure.stack import ConnectedRegistryOptions, Stack
from local_azure.stack.sites import Site

CLIENTS = 50
"""Devices at one connected registry."""
_TRANSACTION = 100
"""Entities that a table takes in one transaction."""
_VALIDITY = timedelta(days=90)


def connected_registries_for(size: int) -> Iterator[ConnectedRegistryOptions]:
    """Connected registries for a fleet of this size."""
    for number in range(math.ceil(size / CLIENTS)):
        # Plain HTTP: the certificate authority of hundreds would be too long for a setting.
        yield ConnectedRegistryOptions(
            name=f"plant{number:03}", sync_every_seconds=86400, insecure=True
        )


async def put_in(stack: Stack, size: int) -> None:
    """Put a fleet of devices into a stack that has connected registries for them."""
    os.environ |= {
        **app_settings(stack),
        "IDENTITY_ENDPOINT": stack.identity_endpoint,
        "IDENTITY_HEADER": stack.identity_header,
    }
    settings = read_settings()
    async with AsyncExitStack() as cleanup:
        ports = await connect(settings, cleanup=cleanup)
        now = datetime.now(UTC)
        fleet = Fleet(stack=stack, deployment=settings.deployment, size=size, now=now)
        await fleet.put_in(ports.ledgers)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Devices with all that a deployment makes for them, after they have logged in."""

    stack: Stack
    deployment: str
    size: int
    now: datetime

    async def put_in(self, ledgers: Ledgers) -> None:
        """Put in 50 devices at each connected registry, in the order of both."""
        devices = (self._device(number) for number in range(self.size))
        records: list[DeviceRecord] = []
        groups = batched(devices, CLIENTS, strict=False)
        for site, clients in zip(self.stack.sites.all(), groups, strict=True):
            ref = ConnectedRegistryRef(registry=self._registry_id, name=site.options.name)
            there = [self._onboarded(device, ref, site) for device in clients]
            ids = tuple(ref.registry.token(grant.names.token) for r in there for grant in r.grants)
            self._registry.update_connected_registry(
                ref.name, ConnectedRegistryChanges(client_token_ids=tuple(map(str, ids)))
            )
            await ledgers.put(ref, self._ledger(ids), etag=None)
            records += there
        await self._store(records)

    def _onboarded(self, device: DeviceKey, ref: ConnectedRegistryRef, site: Site) -> DeviceRecord:
        """Put in a device's identity, scope map, token, password, secret and twin; its record."""
        record = new_record(device, self._intent(ref))
        names = names_for(device, deployment=self.deployment, registry=ref.registry)
        password = self._password(names, record.spec.intent.scope_actions)
        version = self._secret(device, names, password)
        expires_at = password.expires_at or self.now
        contents = Contents(
            address=site.endpoint,
            username=names.token,
            repositories=record.spec.intent.repositories,
            ca=None if site.options.insecure else self.stack.ca_pem,
            insecure=site.options.insecure,
        )
        identity = self.stack.hub.create_device(DeviceSettings(device.device_id))
        self._deliver(device, ref, contents, password)
        delivery = Delivery(
            id=contents.delivery_id(password.value, expires_at=expires_at),
            slot=password.slot,
            secret_version=version,
            address=site.endpoint,
            expires_at=expires_at,
            at=self.now,
        )
        return replace(
            record,
            schedule=Schedule(due_at=self.now + _VALIDITY / 2),
            status=Status(
                condition=Condition(
                    state=State.READY,
                    reason=Reason.ACKNOWLEDGED,
                    message="The device has logged in.",
                    since=self.now,
                ),
                observed_generation=record.spec.generation,
                grant=Grant(ref=ref, names=names),
                delivery=delivery,
                acknowledged_at=self.now,
                observed_at=self.now,
                hub_generation_id=identity.generation_id,
                hub_device_etag=identity.etag,
            ),
        )

    def _password(self, names: Names, actions: frozenset[str]) -> NewPassword:
        scope_map = scope_map_name(actions, deployment=self.deployment)
        self._registry.put_scope_map(scope_map, actions=sorted(actions))
        scope_map_id = self._registry.registry_id.child("scopeMaps", scope_map)
        self._registry.put_token(names.token, scope_map_id=scope_map_id)
        expires_at = (self.now + _VALIDITY).replace(microsecond=0)
        made = self._registry.generate_credentials(
            str(self._token_id(names)), name="password1", expiry=expires_at
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
        self,
        device: DeviceKey,
        ref: ConnectedRegistryRef,
        contents: Contents,
        password: NewPassword,
    ) -> None:
        expires_at = password.expires_at or self.now
        entry = {
            **contents.without_password(expires_at),
            "password": password.value.reveal(),
            "deliveryId": contents.delivery_id(password.value, expires_at=expires_at),
        }
        desired: JsonObject = {"firstpull": {"registryCredentials": {ref.name: entry}}}
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

    def _intent(self, ref: ConnectedRegistryRef) -> Intent:
        return Intent(
            target=ref.name,
            candidates=(ref,),
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
