"""Sealed deliveries: the device's key, what opens, and what is refused although it opens."""

from __future__ import annotations

import json
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from firstpull_agent.applied import AppliedStore
from firstpull_agent.convergence import Convergence
from firstpull_agent.logins import Logins
from firstpull_agent.sealing_keys import FileKeys, KeyKind
from firstpull_agent.seals import SealMemory, Seals

from .conftest import Agent
from .deliveries import PASSWORD, USERNAME, desired, entry, entry_for
from .device import LOGIN, SITE, Device
from .fake_registry import FakeRegistry
from .sealing import DEVICE_ID, GENERATION, sealed

type Change = Callable[[dict[str, Any]], dict[str, Any]]

LOGGED_IN = "LoggedIn"
NOT_ACCEPTED = ("Failed", "SealNotAccepted")


class SealedDevice(Device):
    """A device with a key, that can be told to take nothing in plain."""

    required = False
    device_id: str | None = DEVICE_ID

    @property
    def keys(self) -> FileKeys:
        return FileKeys(self.folder / "state" / "sealing-keys.json")

    def restart(self) -> None:
        self.agent = Convergence(
            Logins(engine=self.engine, store=AppliedStore(self.state_file)),
            check=self.check,
            time=self.time,
            rng=random.Random(1),  # noqa: S311
            seals=Seals(
                self.keys,
                SealMemory(self.folder / "state" / "seals.json"),
                device_id=self.device_id,
                required=self.required,
            ),
        )

    def outcome(self) -> tuple[str, str | None]:
        self.report()
        return self.reported["site1"]["state"], self.reported["site1"]["reason"]

    def seal(self, delivery_id: str = "delivery-1", **header: object) -> dict[str, Any]:
        wanted = entry(SITE, deliveryId=delivery_id)
        return sealed(wanted, self.keys.public_jwk(), **header)


@pytest.fixture
def device(tmp_path: Path) -> SealedDevice:
    device = SealedDevice(tmp_path)
    device.check.accepted |= {f"delivery-{n}.{'0' * 32}" for n in (1, 2)}
    device.keys.make(KeyKind.EC)
    return device


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_delivery_that_is_sealed_to_its_key_logs_the_device_in(
    device: SealedDevice, kind: KeyKind
) -> None:
    device.keys.make(kind)
    wanted = device.seal()
    assert PASSWORD not in json.dumps(wanted)
    assert len(wanted["sealed"]) < 4096

    device.want(site1=wanted)

    assert device.login(SITE) == LOGIN
    assert device.outcome() == (LOGGED_IN, None)


@pytest.mark.parametrize(
    "header",
    [
        {"deliveryId": "delivery-0"},
        {"deviceId": "device-2"},
        {"connectedRegistry": "site2"},
        {"entry": "another"},
        {"iat": "yesterday"},
        {"iat": True},
        {"generationId": None},
        {"generationId": ""},
    ],
    ids=str,
)
def test_a_seal_for_something_else_is_refused(
    device: SealedDevice, header: dict[str, object]
) -> None:
    device.want(site1=sealed(entry(SITE), device.keys.public_jwk(), **header))

    assert device.outcome() == NOT_ACCEPTED
    assert device.engine.calls == []
    assert device.check.checked == []


def _with(**changes: object) -> Change:
    return lambda wanted: {**wanted, **changes}


def _cut(wanted: dict[str, Any]) -> dict[str, Any]:
    return {**wanted, "sealed": wanted["sealed"][:-4]}


@pytest.mark.parametrize(
    "change",
    [
        _with(address="attacker.example:443"),
        _with(insecure=True),
        _with(ca=None),
        _with(username="another"),
        _with(invented=1),
        _with(deliveryId="delivery-2"),
        _with(sealed="eyJhbGciOiJub25lIn0...."),
        _with(sealed="no JWE"),
        _cut,
    ],
)
def test_an_edited_delivery_is_refused_before_the_password_is_sent(
    device: SealedDevice, change: Change
) -> None:
    device.want(site1=change(device.seal()))

    state, reason = device.outcome()
    assert (state, reason) in {NOT_ACCEPTED, ("Failed", "UnsupportedDelivery")}
    assert device.check.checked == []


def test_an_old_delivery_does_not_come_back(device: SealedDevice) -> None:
    old = device.seal()
    device.want(site1=old)
    device.want(site1=device.seal("delivery-2", iat=1_700_000_001))
    assert device.outcome() == (LOGGED_IN, None)

    device.restart()
    device.want(site1=old)

    assert device.outcome() == NOT_ACCEPTED
    assert device.engine.calls == [f"login {SITE} delivery-{n}.{'0' * 32}" for n in (1, 2)]


def test_a_failed_newer_delivery_does_not_lock_the_older_one_out(device: SealedDevice) -> None:
    old = device.seal()
    device.want(site1=old)
    device.report()
    device.want(site1=device.seal("delivery-3", iat=1_700_000_009))
    assert device.outcome() == ("Failed", "CredentialsNotAccepted")

    device.want(site1=old)
    assert device.outcome() == (LOGGED_IN, None)


def test_who_seals_something_of_his_own_keeps_the_right_registry_not_out(
    device: SealedDevice,
) -> None:
    stranger = entry("stranger.example:8080")
    device.want(site1=sealed(stranger, device.keys.public_jwk(), iat=10**12))
    assert device.outcome() == (LOGGED_IN, None)

    device.want(site1=device.seal("delivery-2"))
    assert device.outcome() == (LOGGED_IN, None)


def test_another_identity_needs_a_later_seal(device: SealedDevice) -> None:
    device.want(site1=device.seal())
    device.report()
    device.want(site1=device.seal("delivery-2", generationId="7"))
    assert device.outcome() == NOT_ACCEPTED

    device.want(site1=device.seal("delivery-2", generationId="7", iat=1_700_000_001))
    assert device.outcome() == (LOGGED_IN, None)


def test_it_takes_nothing_in_plain_where_it_has_been_told_so(device: SealedDevice) -> None:
    device.required = True
    device.restart()

    device.want(site1=entry(SITE))
    assert device.outcome() == ("Failed", "PlainNotAccepted")
    device.want(site1=device.seal())
    assert device.outcome() == (LOGGED_IN, None)


def test_plain_is_taken_otherwise(device: SealedDevice) -> None:
    device.want(site1=entry(SITE))
    assert device.outcome() == (LOGGED_IN, None)


def test_a_new_key_leaves_the_old_deliveries_readable_until_the_key_after_it(
    device: SealedDevice,
) -> None:
    wanted, old = device.seal(), device.keys.public_jwk()
    device.keys.make(KeyKind.EC)
    assert device.keys.public_jwk()["kid"] != old["kid"]
    device.want(site1=wanted)
    assert device.outcome() == (LOGGED_IN, None)

    device.keys.make(KeyKind.EC)
    device.restart()
    device.want(site1=wanted)
    assert device.outcome() == ("Failed", "UnsupportedDelivery")


def test_without_its_device_id_or_a_readable_key_it_says_so(device: SealedDevice) -> None:
    wanted = device.seal()
    device.device_id = None
    device.restart()
    device.want(site1=wanted)
    assert device.outcome() == ("Failed", "UnsupportedDelivery")

    device.device_id = DEVICE_ID
    (device.folder / "state" / "sealing-keys.json").write_text("damaged")
    device.restart()
    device.want(site1={**wanted, "repositories": []})
    assert device.outcome() == ("Failed", "UnsupportedDelivery")


def test_the_key_command_makes_one_key_and_prints_its_public_half(agent: Agent) -> None:
    file = agent.folder / "state" / "sealing-keys.json"

    def printed(*arguments: str) -> dict[str, Any]:
        argv = ["key", f"--state-dir={file.parent}", *arguments]
        done = agent.run(*argv)
        assert done.status == 0, done.err
        jwk: dict[str, Any] = json.loads(done.out)
        return jwk

    first = printed()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert printed() == first
    assert {first["kty"], first["crv"], first["use"], first["alg"]} == {
        "EC",
        "P-256",
        "enc",
        "ECDH-ES",
    }
    assert not {"d", "p", "q"} & first.keys()
    rsa = printed("--replace", "--kind", "RSA")
    assert (rsa["kty"], rsa["alg"]) == ("RSA", "RSA-OAEP-256")
    assert "d" not in rsa
    private = json.loads(file.read_text())["keys"]
    assert [key["kid"] for key in private] == [rsa["kid"], first["kid"]]


def test_apply_opens_it_with_the_device_id_and_refuses_plain(
    agent: Agent, registry: FakeRegistry
) -> None:
    keys = FileKeys(agent.folder / "state" / "sealing-keys.json")
    keys.make(KeyKind.EC)
    wanted = sealed(entry_for(registry), keys.public_jwk(), generationId=GENERATION)

    options = ("--device-id", DEVICE_ID, "--require-sealed")
    assert agent.apply(desired(site1=wanted), *options)[0] == 0
    assert registry.passwords_seen() == [f"{USERNAME}:{PASSWORD}"]
    status, reported = agent.apply(desired(site1=entry_for(registry)), *options)
    assert status == 1
    assert reported["site1"]["reason"] == "PlainNotAccepted"
