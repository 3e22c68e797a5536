"""A fake world as JSON: what firstpull stored, and what Azure and the devices have.

Another release's tests can read it: it names nothing but fields that have a stored form.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pydantic import SecretStr, TypeAdapter

from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from firstpull.model.device_key import DeviceKey
from local_azure.container_registry import resources
from local_azure.iot_hub.identities import Identity
from local_azure.iot_hub.twins import Twin
from local_azure.key_vault.models import Secret, SecretVersion
from tests.firstpull.harness import Harness
from tests.world.cloud import Cloud, ReconcileRequest
from tests.world.device import Device, Login

_BYTES = ("salt", "digest")


def dump(harness: Harness) -> dict[str, Any]:
    """All of a world but its running processes."""
    cloud = harness.cloud
    return {
        "now": cloud.clock.now().isoformat(),
        "records": {device.device_id: text for device, (text, _) in cloud.records.items()},
        "ledgers": {ref.name: text.decode() for ref, (text, _) in cloud.ledgers.items()},
        "queue": [
            {
                "hub": request.device.hub,
                "deviceId": request.device.device_id,
                "visibleAt": request.visible_at.isoformat(),
            }
            for request in cloud.queue
        ],
        "registries": {
            str(registry_id): {
                "tokens": [_plain(resources.Token, token) for token in registry.tokens()],
                "scopeMaps": [
                    _plain(resources.ScopeMap, found)
                    for found in registry.scope_maps()
                    if found.kind == "UserDefined"
                ],
            }
            for registry_id, registry in cloud._registries.items()
        },
        "clients": {ref.name: cloud.clients(ref) for ref in cloud.sites},
        "vault": {
            name: [_version(version) for version in versions]
            for name, versions in cloud.secrets.items()
        },
        "hub": [
            {
                "identity": _plain(Identity, cloud.hub.device(device.device_id)),
                "twin": _plain(Twin, cloud.hub.twin(device.device_id)),
                "logins": {
                    ref.name: [login.token, login.password]
                    for ref, login in cloud.devices[device].logins.items()
                },
            }
            for device in cloud.devices
        ],
        "passwords": [
            [str(registry), token, values] for (registry, token), values in cloud.passwords.items()
        ],
    }


def load(stored: dict[str, Any], harness: Harness) -> None:
    """Make a new world what was dumped. Its connected registries have synced just now."""
    cloud = harness.cloud
    cloud.clock.advance_to(datetime.fromisoformat(stored["now"]))
    cloud._services_chance.seed(stored["now"])  # no id is given twice
    _load_registries(cloud, stored)
    for ref in cloud.sites:
        cloud.put_clients(ref, *stored["clients"][ref.name])
        cloud.sync(ref)
    for name, versions in stored["vault"].items():
        cloud.vault._secrets[name] = Secret(tuple(map(_read_version, versions)))
    refs = {ref.name: ref for ref in cloud.sites}
    for found in stored["hub"]:
        _load_device(cloud, found, harness, refs)
    hub = next(iter(json.loads(text)["device"]["hub"] for text in stored["records"].values()))
    for device_id, text in stored["records"].items():
        key = DeviceKey(hub=hub, device_id=device_id)
        cloud.records[key] = text, cloud.next_number()
    for name, text in stored["ledgers"].items():
        cloud.ledgers[refs[name]] = text.encode(), cloud.next_number()
    for message in stored["queue"]:
        key = DeviceKey(hub=message["hub"], device_id=message["deviceId"])
        visible_at = datetime.fromisoformat(message["visibleAt"])
        cloud.queue.append(ReconcileRequest(device=key, visible_at=visible_at))
    cloud.watch.after_write()
    for record in cloud.all_records():
        # Of a record with a claim, the watch counts on having seen the one before.
        cloud.watch._note_ours({(grant.ref, grant.names.token) for grant in record.grants})


def _load_registries(cloud: Cloud, stored: dict[str, Any]) -> None:
    for text, held in stored["registries"].items():
        registry = cloud.registry(RegistryId(text))
        for found in held["scopeMaps"]:
            registry._save_scope_map(_read(resources.ScopeMap, found))
        for found in held["tokens"]:
            registry._tokens.save(_read(resources.Token, found))
    for registry_id, token, values in stored["passwords"]:
        cloud.passwords[RegistryId(registry_id), token] += values


def _load_device(
    cloud: Cloud, found: dict[str, Any], harness: Harness, refs: dict[str, ConnectedRegistryRef]
) -> None:
    identity = _read(Identity, found["identity"])
    key = harness.register(identity.device_id)
    cloud.hub._identities[identity.device_id] = identity
    twins: Any = cloud.hub._twins  # releases differ in its keys
    made = cloud.hub.twin(identity.device_id)
    place = next(place for place, twin in twins.items() if twin is made)
    twins[place] = _read(Twin, found["twin"])
    cloud.hub._note(identity.device_id)
    logins = {refs[name]: Login(*login) for name, login in found["logins"].items()}
    cloud.devices[key] = Device(key, identity.generation_id, logins=logins)


def _plain[T](kind: type[T], value: T) -> Any:  # noqa: ANN401 - JSON
    return _to_json(TypeAdapter(kind).dump_python(value))


def _to_json(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {name: _to_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime) else value


def _read[T](kind: type[T], value: Any) -> T:  # noqa: ANN401 - JSON
    return TypeAdapter(kind).validate_python(_from_json(value))


def _from_json(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [_from_json(inner) for inner in value]
    if isinstance(value, dict):
        return {
            name: bytes.fromhex(inner) if name in _BYTES else _from_json(inner)
            for name, inner in value.items()
        }
    return value


def _version(version: SecretVersion) -> dict[str, Any]:
    return {**vars(version), "value": version.value.get_secret_value()}


def _read_version(stored: dict[str, Any]) -> SecretVersion:
    return SecretVersion(**{**stored, "value": SecretStr(stored["value"])})
