"""What holds for every onboarded and every revoked device, whatever happened before."""

from __future__ import annotations

from firstpull.bootstrap import Application
from firstpull.model.device_record import DeviceRecord
from firstpull.model.twin_entry import read_entry
from local_azure.container_registry.resources import Token
from tests.firstpull.records import grant_of

from .cloud import (
    clients_of,
    cloud_answers,
    cloud_registry,
    entry_of,
    secret_versions,
    site_answers,
    site_of,
)
from .in_process import Firstpull


async def check_onboarded(
    firstpull: Firstpull, application: Application, device_id: str, plant: str
) -> None:
    """The device has everything, once. Raises AssertionError."""
    record = await firstpull.record(device_id)
    token = cloud_registry(firstpull.stack).token(grant_of(record).names.token)
    _check_token(token)
    password = _check_delivery(firstpull, record, plant)
    _check_secret(firstpull, record, password)
    assert clients_of(firstpull.stack, plant).count(token.name) == 1
    assert await cloud_answers(firstpull.stack, token.name, password) == 200
    site_of(firstpull.stack, plant).backend.sync()
    assert await site_answers(firstpull.stack, plant, token.name, password) == 200
    # A write to Key Vault that the transport repeated leaves a superfluous version: it is disabled.
    writes = await firstpull.reconcile_again(application, device_id)
    assert writes in ([], ["keyVault.secrets.update"])
    assert await firstpull.reconcile_again(application, device_id) == [], "one more pass writes"


async def check_revoked(firstpull: Firstpull, record: DeviceRecord) -> None:
    """Nothing is left of a device at any of its record's grants. Raises AssertionError."""
    stack = firstpull.stack
    assert record.is_tombstone
    assert record.grants
    for grant in record.grants:
        plant, names = grant.ref.name, grant.names
        assert names.token not in {token.name for token in cloud_registry(stack).tokens()}
        assert names.token not in clients_of(stack, plant)
        ledger = await firstpull.ports.ledgers.get(grant.ref)
        assert ledger is not None
        assert ledger.value.get(grant.ref.registry.token(names.token)) is None
        versions = secret_versions(stack, names.secret)
        assert [version for version in versions if version.enabled] == []
        assert versions, "the secret's name is kept"
        assert entry_of(stack, record.device.device_id, plant) == {}


def _check_token(token: Token) -> None:
    assert token.status == "enabled"
    assert [password.name for password in token.passwords] == ["password1"]


def _check_delivery(firstpull: Firstpull, record: DeviceRecord, plant: str) -> str:
    device_id = record.device.device_id
    found = read_entry(firstpull.stack.hub.twin(device_id).desired.values, plant)
    assert found is not None
    assert found.intact
    assert record.status.delivery is not None
    assert found.id == record.status.delivery.id
    entry = entry_of(firstpull.stack, device_id, plant)
    assert entry["username"] == grant_of(record).names.token
    assert entry["address"] == site_of(firstpull.stack, plant).endpoint
    return str(entry["password"])


def _check_secret(firstpull: Firstpull, record: DeviceRecord, password: str) -> None:
    assert record.status.delivery is not None
    versions = secret_versions(firstpull.stack, grant_of(record).names.secret)
    enabled = {v.version: v.value.get_secret_value() for v in versions if v.enabled}
    assert record.status.delivery.secret_version in enabled
    # A repeated write may have stored the same password twice.
    assert set(enabled.values()) == {password}
