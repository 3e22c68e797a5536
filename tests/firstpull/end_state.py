"""What a device has in the end, for comparing runs that went differently, and after a revoke."""

from __future__ import annotations

from typing import Any

from firstpull.model.device_key import DeviceKey
from tests.firstpull.harness import OUR_PREFIX
from tests.world.cloud import Cloud


def end_state(cloud: Cloud, device: DeviceKey) -> dict[str, Any]:
    """Everything about a device but times, the text of its password and older passwords."""
    record = cloud.record(device)
    grant = record.status.grant
    if grant is None or device not in cloud.devices:
        return {"state": record.status.condition.state, "tokens": set(cloud.tokens)}
    entry = cloud.entry(device, grant.ref)
    password = str(cloud.devices[device].password_in(entry) or "")
    for name in ("password", "sealed"):
        entry.pop(name, None)
    entry.pop("deliveryId", None)
    entry.pop("expiresOn", None)
    enabled = [v for v in cloud.secrets.get(grant.names.secret, ()) if v.enabled]
    return {
        "state": record.status.condition.state,
        "reason": record.status.condition.reason,
        "generation": (record.spec.generation, record.status.observed_generation),
        "slot": record.status.delivery.slot if record.status.delivery else None,
        "requested": record.status.slots_requested,
        "claimed": record.claim is not None,
        "leaving": record.status.retiring,
        "keeps": record.status.retained_actions,
        "rotation": record.spec.rotation,
        "tokens": {name: token.scope_map_id for name, token in cloud.tokens.items()},
        "scope maps": {name: found.actions for name, found in cloud.scope_maps.items()},
        "clients": {ref: cloud.clients(ref) for ref in cloud.sites},
        "standings": [e.standing for e in cloud.ledger(grant.ref).entries.values()],
        "twin": entry,
        "passwords": len(cloud.accepted(grant.names.token)),
        "accepts what is delivered": password in cloud.accepted(grant.names.token),
        "keeps what is delivered": [v.value.get_secret_value() for v in enabled][-1:] == [password],
        "versions enabled": len(enabled),
        "the device has it": cloud.devices[device].held == {grant.ref.name: password},
    }


def remains(cloud: Cloud, device: DeviceKey) -> set[str]:
    """The kinds of things that still give the device access, or hold room for it.

    Only for a cloud in which no other device has anything.
    """
    enabled = (stored.enabled for found in cloud.secrets.values() for stored in found)
    there = {
        "token": any(name.startswith(OUR_PREFIX) for name in cloud.tokens),
        "client": any(map(cloud.clients, cloud.sites)),
        "ledger": any(cloud.ledger(ref).entries for ref in cloud.sites),
        "secret": any(enabled),
        "twin": bool(cloud.entries(device)),
    }
    return {kind for kind, is_there in there.items() if is_there}
