"""A power cut at any moment of any change in a device's life."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from .deliveries import USERNAME, entry
from .device import CA, LATER, OTHER, PERSON, SITE, Device


class PowerCut(BaseException):
    """The device is off from now on."""


class Power:
    """Lets so many changes of the file system happen, and then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, changes: int) -> None:
        self.left = changes
        for name in ("replace", "unlink", "rmdir"):
            monkeypatch.setattr(Path, name, self._limited(getattr(Path, name)))

    def _limited(self, change: Any) -> Any:  # noqa: ANN401 - any of Path's methods
        def limited(*arguments: object, **options: object) -> object:
            if self.left == 0:
                raise PowerCut
            self.left -= 1
            return change(*arguments, **options)

        return limited


_A = entry(SITE, ca=CA)
_A_RENEWED = entry(SITE, ca=CA, **LATER)
_A_ANEW = entry(SITE, username="device-1-anew", **LATER)
_B = entry(OTHER, **LATER)
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "first login": ({}, {"site1": _A}),
    "renewal": ({"site1": _A}, {"site1": _A_RENEWED}),
    "onboarded anew": ({"site1": _A}, {"site1": _A_ANEW}),
    "new address": ({"site1": _A}, {"site1": _B}),
    "move": ({"site1": _A}, {"site1": _A, "site2": _B}),
    "end of a move": ({"site1": _A, "site2": _B}, {"site2": _B}),
    "second delivery for an address": ({"site1": _A}, {"site1": _A, "site2": _A_ANEW}),
    "address handed over": ({"site1": _A}, {"site2": _A_ANEW}),
    "back to the older": ({"site1": _A, "site2": _A_ANEW}, {"site1": _A}),
    "revoke": ({"site1": _A}, {}),
}


def _loses_power(
    device: Device, change: str, monkeypatch: pytest.MonkeyPatch, *, after: int
) -> bool:
    """Change the device; whether it took more than `after` changes of the file system."""
    first, then = CHANGES[change]
    device.want(**first)
    device.report()
    with monkeypatch.context() as patched:
        Power(patched, changes=after)
        try:
            device.want(**then)
        except PowerCut:
            return True
    return False


def _contents(device: Device) -> dict[str, object]:
    """All that is in files, in an order that does not tell when it came there."""
    contents: dict[str, object] = {}
    for path in device.files():
        name = path.relative_to(device.folder).as_posix()
        contents[name] = path.read_text().replace(str(device.folder), "")
    contents["auth.json"] = json.loads(device.engine.auth_file.path.read_text())["auths"]
    contents["state/applied.json"] = sorted(
        json.dumps({**login, "auth_file": None, "certs_dir": bool(login["certs_dir"])})
        for login in device.remembered()
    )
    return contents


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_power_cut_at_any_moment_the_next_start_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    undisturbed = Device(tmp_path / "undisturbed")
    assert not _loses_power(undisturbed, change, monkeypatch, after=-1)
    undisturbed.report()

    for after in count():
        device = Device(tmp_path / str(after))
        if not _loses_power(device, change, monkeypatch, after=after):
            break
        device.restart()
        device.want(**CHANGES[change][1])
        device.report()
        assert _contents(device) == _contents(undisturbed)
        assert device.reported == undisturbed.reported
    assert after > 0


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_power_cut_at_any_moment_a_revoke_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    for after in count():
        device = Device(tmp_path / str(after))
        device.log_in_by_hand("x:1", PERSON)
        if not _loses_power(device, change, monkeypatch, after=after):
            break
        device.restart()
        device.want()
        device.report()
        assert device.login("x:1") == PERSON
        assert device.login(SITE) is device.login(OTHER) is None
        left = "".join(path.read_text() for path in device.files())
        assert not any(trace in left for trace in (SITE, OTHER, USERNAME, CA, "delivery-"))
        assert device.reported == {}
    assert after > 0
