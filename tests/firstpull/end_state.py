"""What a device has in the end, for comparing runs that went differently."""

from __future__ import annotations

from typing import Any

from firstpull.devices import DeviceKey
from tests.firstpull.fakes import FakeCloud, name_in


def end_state(cloud: FakeCloud, device: DeviceKey) -> dict[str, Any]:
    """Everything about a device but times, the password's text and what it superseded."""
    record = cloud.record(device)
    if record.place is None or record.names is None or device not in cloud.devices:
        return {"state": record.condition.state, "tokens": set(cloud.tokens)}
    entry = cloud.twin_entry(device, record.place)
    password = str(entry.pop("password", ""))
    entry.pop("deliveryId", None)
    entry.pop("expiresOn", None)
    enabled = [v for v in cloud.secrets.get(record.names.secret, ()) if v.version.enabled]
    return {
        "state": record.condition.state,
        "reason": record.condition.reason,
        "generation": (record.generation, record.observed_generation),
        "slot": record.delivery.slot if record.delivery else None,
        "requested": record.slots_requested,
        "claimed": record.claim is not None,
        "leaving": record.leaving,
        "keeps": record.keeps,
        "rotation": record.rotation,
        "tokens": {name: token.scope_map_id for name, token in cloud.tokens.items()},
        "scope maps": cloud.scope_maps,
        "clients": {p: [name_in(t) for t in c.clients] for p, c in cloud.connected.items()},
        "standings": [e.standing for e in cloud.ledger(record.place).entries.values()],
        "twin": entry,
        "passwords": len(cloud.accepted(record.names.token)),
        "accepts what is delivered": password in cloud.accepted(record.names.token),
        "keeps what is delivered": [v.value for v in enabled][-1:] == [password],
        "versions enabled": len(enabled),
        "the device has it": cloud.devices[device].held
        == {record.place.connected_registry: password},
    }
