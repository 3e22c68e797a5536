"""A new version goes on with the files of version 0.1.0, as that version wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .deliveries import entry
from .device import LOGIN, SITE, Device

FILES = Path(__file__).parent / "state_of_0_1_0"
OTHER = "10.0.0.5:8080"
FIRST = entry(SITE)
SECOND = entry(
    OTHER,
    deliveryId="delivery-2",
    username="device-1-b",
    insecure=True,
    repositories=["hello-world"],
)


@pytest.fixture
def upgraded(device: Device) -> Device:
    device.state_file.parent.mkdir()
    for name, target in (
        ("applied.json", device.state_file),
        ("auth.json", device.folder / "auth.json"),
    ):
        text = (FILES / name).read_text()
        target.write_text(text.replace("DEVICE", str(device.folder)))
    device.restart()
    return device


def test_its_logins_stay_and_are_not_made_again(upgraded: Device) -> None:
    before = {path: path.read_bytes() for path in upgraded.files()}

    upgraded.want(plant01=FIRST, plant02=SECOND)

    assert upgraded.report() == {
        "plant01": ("delivery-1", "LoggedIn", None),
        "plant02": ("delivery-2", "LoggedIn", None),
    }
    assert upgraded.engine.calls == []
    assert {path: path.read_bytes() for path in upgraded.files()} == before


def test_a_delivery_that_ended_meanwhile_is_logged_out(upgraded: Device) -> None:
    upgraded.want(plant01=FIRST)

    assert upgraded.login(SITE) == LOGIN
    assert upgraded.login(OTHER) is None
    assert [login["name"] for login in upgraded.remembered()] == ["plant01"]


def test_a_new_version_can_be_taken_back_although_it_remembers_more(upgraded: Device) -> None:
    newer = [{**login, "invented_later": {"a": 1}} for login in upgraded.remembered()]
    upgraded.state_file.write_text(json.dumps(newer))

    upgraded.want()

    assert upgraded.login(SITE) is None
    assert upgraded.login(OTHER) is None
