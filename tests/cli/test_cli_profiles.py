"""Which firstpull is called with which key, and how its fleet page is opened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from firstpull_cli.api import Api
from firstpull_cli.profiles import choose_profile

from .command import Operator
from .fake_service import fake_service

_CONFIG = """
default = "usual"
[profiles.usual]
url = "https://usual.test"
[profiles.other]
url = "https://other.test"
"""


@pytest.mark.parametrize(
    ("option", "variables", "has_local_azure", "chosen"),
    [
        (
            "other",
            {"FIRSTPULL_PROFILE": "local", "FIRSTPULL_URL": "https://url.test"},
            True,
            "https://other.test",
        ),
        (
            None,
            {"FIRSTPULL_PROFILE": "other", "FIRSTPULL_URL": "https://url.test"},
            True,
            "https://other.test",
        ),
        (None, {"FIRSTPULL_URL": "https://url.test/"}, True, "https://url.test"),
        (None, {}, True, "http://127.0.0.1:7071"),
        (None, {}, False, "https://usual.test"),
        ("local", {"FIRSTPULL_URL": "https://url.test"}, True, "http://127.0.0.1:7071"),
    ],
)
def test_what_is_named_first_decides_which_firstpull_is_called(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str | None,
    variables: dict[str, str],
    has_local_azure: bool,  # noqa: FBT001 - a column
    chosen: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if has_local_azure:
        (tmp_path / ".local").mkdir()
        (tmp_path / ".local/azure.env").write_text("export FIRSTPULL_URL=http://127.0.0.1:7071\n")
    config = tmp_path / "config.toml"
    config.write_text(_CONFIG)
    assert choose_profile(option, {"FIRSTPULL_CONFIG": str(config), **variables}).url == chosen


def test_the_master_key_goes_to_the_hosts_own_routes_only(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    with fake_service((200, {}, {"devices": []}), (202, {}, "")) as service:
        command = [sys.executable, "-c", "print('of the master')"]
        config.write_text(
            f'[profiles.x]\nurl = "{service.url}"\nkey_variable = "KEY_OF_X"\n'
            f"master_key_command = {command}\n"
        )
        variables = {"FIRSTPULL_CONFIG": str(config), "KEY_OF_X": "of x", "FIRSTPULL_KEY": "other"}
        with Api(choose_profile("x", variables)) as api:
            api.get("devices")
            api.send("POST", "/admin/functions/sweep", body={}, as_master=True)
    keys = {asked: headers["x-functions-key"] for asked, headers in service.requests}
    assert keys == {"GET /api/devices": "of x", "POST /admin/functions/sweep": "of the master"}


async def test_a_command_calls_the_firstpull_of_the_profile_that_it_names(tmp_path: Path) -> None:
    with fake_service((200, {}, {"devices": []})) as service:
        (tmp_path / ".config/firstpull").mkdir(parents=True)
        (tmp_path / ".config/firstpull/config.toml").write_text(
            'default = "usual"\n[profiles.usual]\nurl = "http://127.0.0.1:9"\n'
            f'[profiles.other]\nurl = "{service.url}"\n'
        )
        operator = Operator(tmp_path, {"FIRSTPULL_KEY": "sesame"})
        ran = await operator.ok("devices", "--profile", "other", "--json")
    assert ran.document == {"devices": [], "unreadable": []}
    assert len(service.requests) == 1


async def test_open_starts_a_browser_with_an_address_without_a_key(tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$*" > {opened}\n')
    browser.chmod(0o755)
    variables = {"FIRSTPULL_URL": "https://somewhere.test", "FIRSTPULL_KEY": "sesame"}
    operator = Operator(tmp_path, {**variables, "BROWSER": f"{browser} %s"})
    assert (await operator.ok("open")).out == "https://somewhere.test/api/fleet\n"
    assert opened.read_text() == "https://somewhere.test/api/fleet"


async def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("firstpull")
    for typed, expected in (
        ("firstpull de", {"device", "devices"}),
        ("firstpull plan --exit", {"--exit-code"}),
    ):
        variables = {
            "_FIRSTPULL_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split()) - 1),
        }
        ran = await Operator(tmp_path, variables, command=(str(script),)).run()
        assert set(ran.out.split()) == expected
