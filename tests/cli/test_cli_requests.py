"""Which firstpull the command calls, with which secrets, and what it makes of odd answers."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from firstpull_cli.api import Api
from firstpull_cli.changing import move
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.journal import Journal
from firstpull_cli.onboarding import send_rows
from firstpull_cli.profiles import Profile, choose_profile
from firstpull_cli.rows import Row

from .command import Operator
from .fake_service import FakeService, fake_service

_FLEET: dict[str, object] = {"devices": []}


def api_of(service: FakeService, pauses: list[float] | None = None) -> Api:
    """A caller of a fake service that notes its pauses and makes none."""
    profile = Profile(name="fake", url=service.url, variables={"FIRSTPULL_KEY": "sesame"})
    return Api(profile, sleep=(pauses if pauses is not None else []).append)


def write_config(folder: Path, text: str) -> dict[str, str]:
    """A config file, and the variables that name it."""
    file = folder / "config.toml"
    file.write_text(text)
    return {"FIRSTPULL_CONFIG": str(file)}


def problem(status: int, reason: str, **more: object) -> tuple[int, dict[str, str], object]:
    """A problem document as an answer."""
    document = {"status": status, "reason": reason, "title": "a title", "detail": "a detail"}
    return status, {}, {**document, **more}


def test_a_request_is_repeated_no_earlier_than_the_service_says() -> None:
    later = (503, {"Retry-After": "7"}, {"reason": "Throttled", "detail": "slow down"})
    pauses: list[float] = []
    with fake_service(later, (429, {"Retry-After": "3"}, "no"), (200, {}, _FLEET)) as service:
        assert api_of(service, pauses).get("devices") == _FLEET
    assert 7.0 <= pauses[0] <= 9.0
    assert 3.0 <= pauses[1] <= 4.0


def test_a_longer_wait_than_anybody_has_patience_for_is_an_error_with_that_reason() -> None:
    later = (503, {"Retry-After": "3600"}, {"reason": "Throttled", "detail": "slow down"})
    with fake_service(later) as service, pytest.raises(CliError, match="Throttled") as raised:
        api_of(service).get("devices")
    assert raised.value.status is Exit.UNAVAILABLE


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (problem(404, "DeviceNotKnown"), Exit.NOT_FOUND),
        (problem(403, "RoleMissing"), Exit.DENIED),
        (problem(409, "NothingToRotate"), Exit.FAILED),
        ((401, {}, ""), Exit.DENIED),
        ((500, {}, "oops"), Exit.UNAVAILABLE),
        ((302, {"Location": "https://elsewhere.example/"}, ""), Exit.USAGE),
        ((200, {}, "<html>"), Exit.UNAVAILABLE),
    ],
)
def test_every_error_has_its_exit_status_and_says_what_to_do(
    answer: tuple[int, dict[str, str], object], status: Exit
) -> None:
    with fake_service(answer) as service, pytest.raises(CliError) as raised:
        api_of(service).get("devices/gateway-1")
    assert raised.value.status is status
    assert raised.value.advice
    assert len(service.requests) == 1


def test_a_problem_shows_its_paths_and_its_remedy() -> None:
    errors = [{"path": "/repositories/0", "message": "must be in lower case"}]
    answer = problem(400, "InvalidRequest", errors=errors, remedy="Do this.")
    with fake_service(answer) as service, pytest.raises(CliError) as raised:
        api_of(service).get("devices")
    assert "/repositories/0: must be in lower case" in raised.value.message
    assert raised.value.advice == "Do this."


def test_a_lost_answer_is_asked_for_again_only_where_that_changes_nothing() -> None:
    profile = Profile(name="x", url="http://127.0.0.1:9", variables={"FIRSTPULL_KEY": "sesame"})
    pauses: list[float] = []
    api = Api(profile, sleep=pauses.append)
    with pytest.raises(CliError, match="cannot be reached") as raised:
        api.send("POST", "poison/x/1/resend", repeatable=False)
    assert (raised.value.status, pauses) == (Exit.UNAVAILABLE, [])
    with pytest.raises(CliError, match="cannot be reached"):
        api.get("devices")
    assert len(pauses) > 3


def test_the_key_is_the_profiles_and_no_netrc_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with fake_service((200, {}, _FLEET)) as service:
        api_of(service).get("devices")
    ((_, headers),) = service.requests
    assert headers["x-functions-key"] == "sesame"
    assert "Authorization" not in headers


def test_a_command_of_the_profile_prints_the_key(tmp_path: Path) -> None:
    with fake_service((200, {}, _FLEET)) as service:
        command = [sys.executable, "-c", "print('from a command')"]
        config = f'default = "x"\n[profiles.x]\nurl = "{service.url}"\nkey_command = {command}\n'
        with Api(choose_profile(None, write_config(tmp_path, config))) as api:
            api.get("devices")
    assert service.requests[0][1]["x-functions-key"] == "from a command"


def test_the_token_of_the_environment_goes_along() -> None:
    variables = {"FIRSTPULL_KEY": "sesame", "FIRSTPULL_TOKEN": "ey.token"}
    with fake_service((200, {}, _FLEET)) as service:
        Api(Profile(name="x", url=service.url, variables=variables)).get("devices")
    assert service.requests[0][1]["Authorization"] == "Bearer ey.token"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('default = "x"\n[profiles.x]\nurl = "https://h"\nkey = "secret"', "unknown field 'key'"),
        ('default = "x"\n[profiles.x]\nurl = "http://host.example"', "unencrypted"),
        ('default = "x"\n[profiles.x]\nurl = "host.example"', "no address"),
        ('default = "x"\n[profiles.x]\nurl = 1', "not a text"),
        ('default = "x"\n[profiles.x]\nurl = "https://h"\nkey_command = "az"', "a list of texts"),
        ('default = "y"\n[profiles.x]\nurl = "https://h"', "no profile 'y'"),
        ("default = ", "cannot be read"),
        ("", "nothing says"),
    ],
)
def test_a_config_file_that_cannot_be_used_says_why(tmp_path: Path, config: str, said: str) -> None:
    with pytest.raises(CliError, match=said) as raised:
        choose_profile(None, write_config(tmp_path, config))
    assert raised.value.status is Exit.USAGE
    assert "secret" not in raised.value.message


def test_a_running_local_azure_is_found_from_a_folder_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    file = tmp_path / ".local/azure.env"
    file.write_text("export FIRSTPULL_URL=http://127.0.0.1:7071\nexport FIRSTPULL_KEY='a key'\n")
    profile = choose_profile(None, {"FIRSTPULL_TOKEN": "of another firstpull"})
    assert (profile.name, profile.url) == ("local", "http://127.0.0.1:7071")
    assert profile.variables["FIRSTPULL_KEY"] == "a key"
    assert not profile.variables["FIRSTPULL_TOKEN"]


def test_a_sealed_device_whose_key_was_lost_does_not_move_with_a_plain_password() -> None:
    wants: dict[str, object] = {"repositories": ["app"], "sealedTo": "t"}
    device = {"deviceId": "d-1", "hub": "h", "wants": wants}
    with pytest.raises(CliError) as refused:
        move(device, {"connectedRegistry": "plant02"})
    assert "firstpull-agent key" in refused.value.advice
    wants["sealingKey"] = {"kty": "EC"}
    body = move(device, {"connectedRegistry": "plant02"}).body
    assert body is not None
    assert body["sealingKey"] == {"kty": "EC"}


async def test_errors_go_to_standard_error_with_advice_and_a_status(tmp_path: Path) -> None:
    ran = await Operator(tmp_path, {}).run("status")
    assert (ran.status, ran.out) == (Exit.USAGE, "")
    assert "make up" in ran.err
    assert (await Operator(tmp_path, {}).run("devices", "--state", "Great")).status == Exit.USAGE


def test_rows_that_are_refused_for_now_are_sent_again(tmp_path: Path) -> None:
    def answer(*rows: tuple[str, int]) -> tuple[int, dict[str, str], object]:
        problem = {"reason": "ServiceUnavailable", "detail": "no answer"}
        found = [
            {"row": n, "deviceId": device_id, "status": status}
            | ({"problem": problem} if status == 503 else {"hub": "h", "generation": 1})
            for n, (device_id, status) in enumerate(rows)
        ]
        return 207, {}, {"rows": found}

    rows = [Row(line=n, document={"deviceId": f"d-{n}"}) for n in (2, 3, 4)]
    journal, pauses = Journal(tmp_path / "journal.jsonl"), list[float]()
    first, second = (
        answer(("d-2", 202), ("d-3", 503), ("d-4", 503)),
        answer(("d-3", 202), ("d-4", 503)),
    )
    stubborn = [answer(("d-4", 503))] * 4
    with fake_service(first, second, *stubborn) as service:
        outcomes = send_rows(api_of(service, pauses), rows, journal=journal, at_once=10)
    assert [found.status for found in outcomes] == [202, 202, 503]
    assert outcomes[2].reason == "ServiceUnavailable"
    assert pauses == sorted(pauses)
    assert [one["line"] for one in journal.read()] == [2, 3]


async def test_help_imports_no_http_client_and_no_azure_sdk() -> None:
    program = (
        "import sys\nfrom firstpull_cli import app\n"
        "try: app.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'requests', 'azure', 'urllib3'} & sys.modules.keys()))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().splitlines()[-1] == "[]"
