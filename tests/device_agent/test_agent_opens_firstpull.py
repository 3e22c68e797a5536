"""What firstpull seals, the agent opens: both have the format on their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from firstpull_agent.deliveries import Delivery, Rejected, read_deliveries
from firstpull_agent.sealing_keys import FileKeys, KeyKind
from firstpull_agent.seals import SealMemory, Seals

from firstpull.model.sealing import Recipient, read_sealing_key
from firstpull.model.secret import Secret
from firstpull.model.twin_entry import Contents, read_entry

from .deliveries import PASSWORD, desired

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ENDS = NOW + timedelta(days=90)


def entry(keys: FileKeys, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of all kinds
    recipient = Recipient(
        key=read_sealing_key(keys.public_jwk()),
        device_id="device-1",
        generation_id="638",
        connected_registry="site1",
    )
    contents = Contents(
        **{
            "address": "plänt.example:8000".encode("idna").decode(),
            "username": "fp-1",
            "repositories": ("plant/app", "plant/*"),
            "ca": None,
            "insecure": False,
            "recipient": recipient,
            **changes,
        }
    )
    password = Secret(PASSWORD)
    sealed = contents.sealed(password, expires_at=ENDS, now=NOW)
    patch = sealed.patch("site1", password, expires_at=ENDS, replaces=())
    written: dict[str, Any] = patch["firstpull"]["registryCredentials"]["site1"]
    return written


def seals(keys: FileKeys, folder: Path, device_id: str = "device-1") -> Seals:
    memory = SealMemory(folder / "seals.json")
    return Seals(keys, memory, device_id=device_id, required=True)


@pytest.mark.parametrize("kind", list(KeyKind))
@pytest.mark.parametrize("insecure", [True, False])
def test_the_agent_opens_what_firstpull_has_sealed(
    tmp_path: Path, kind: KeyKind, *, insecure: bool
) -> None:
    keys = FileKeys(tmp_path / "keys.json")
    keys.make(kind)
    wanted = desired(site1=entry(keys, insecure=insecure))

    read = read_deliveries(wanted, seals(keys, tmp_path))["site1"]

    assert isinstance(read, Delivery), read
    assert read.password.reveal() == PASSWORD
    known = read_entry(wanted, "site1")
    assert known is not None
    assert known.intact
    assert known.id == read.delivery_id


def test_another_device_refuses_it_even_with_the_same_key(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path / "keys.json")
    keys.make(KeyKind.EC)
    wanted = desired(site1=entry(keys))

    read = read_deliveries(wanted, seals(keys, tmp_path, "device-2"))["site1"]
    assert isinstance(read, Rejected)
    assert read.reason == "SealNotAccepted"
