"""Every command of the documents is run, or there is a rule that says who runs it, and why."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shlex
import signal
import subprocess
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from tests.docs.how_commands_run import ORDER, RULES, How, Rule, rule_of
from tests.docs.shell_blocks import ROOT, Command, commands

COMMANDS = commands()
ON_A_STACK = (How.LOCALLY, How.BESIDE, How.UNTIL)
PATIENCE_SECONDS = 240
STAND_IN = """#!/bin/sh
{ printf '%s\\0' "$0" "$@"; printf '\\n\\0'; } >> "$CALLS"
echo "${STANDS_FOR:-said-by-az}"
"""
UUIDGEN = "#!/bin/sh\ncat /proc/sys/kernel/random/uuid\n"
REMEDY = (
    "Create the layer, with the password of vault secrets/fp-gateway-1/0123: "
    '{"id": "layer-1", "targetCondition": "deviceId=\'gateway-1\'", "priority": 100, '
    '"content": {"modulesContent": {"$edgeAgent": {"password": "<password>"}}}}'
)
"""As test_edge_agent.py has it of firstpull."""
AZD = ("auth login", "env new", "env set", "env get-value", "provision", "up", "down", "deploy")


def page_of(document: str, *how: How) -> list[tuple[Command, Rule]]:
    found = ((command, rule_of(command)) for command in COMMANDS if command.document == document)
    return [(command, rule) for command, rule in found if rule.how in how]


def pages_with(*how: How) -> list[str]:
    return sorted({command.document for command in COMMANDS if rule_of(command).how in how})


def rehearse(document: str, folder: Path) -> list[list[str]]:
    """What az and azd are called with when a page's commands run, with what stands in for them."""
    stand_ins = {**dict.fromkeys(("az", "azd", "firstpull"), STAND_IN), "uuidgen": UUIDGEN}
    for name, script in stand_ins.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    text = "\n".join(command.text for command, _ in page_of(document, How.REHEARSED))
    done = subprocess.run(  # noqa: S603 - the page
        ["/bin/bash", "-eo", "pipefail", "-c", text],
        cwd=folder,
        env={
            "PATH": f"{folder}:{os.environ['PATH']}",
            "CALLS": str(folder / "calls"),
            "STANDS_FOR": json.dumps({"condition": {"remedy": REMEDY}})
            if document == "docs/iot-edge.md"
            else "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    words = (folder / "calls").read_text().split("\0")
    calls, call = list[list[str]](), list[str]()
    for word in words[:-1]:
        if word == "\n":
            calls.append([Path(call[0]).name, *call[1:]])
            call = []
        else:
            call.append(word)
    return calls


def test_a_rule_knows_every_command() -> None:
    unknown = []
    for command in COMMANDS:
        try:
            rule_of(command)
        except LookupError as error:
            unknown.append(str(error))
    assert not unknown


def test_every_rule_is_needed() -> None:
    used = {rule_of(command) for command in COMMANDS}
    assert [rule for rule in RULES if rule not in used] == []


def test_what_runs_a_command_elsewhere_exists_and_does() -> None:
    for rule in RULES:
        if rule.how is How.ELSEWHERE:
            assert rule.reason
            assert rule.needle in (ROOT / rule.test).read_text(), rule


def test_every_page_with_commands_to_run_has_its_turn() -> None:
    assert set(ORDER) == set(pages_with(*ON_A_STACK))


@pytest.mark.parametrize("document", pages_with(How.REHEARSED))
def test_what_azd_is_called_with_is_in_infra(document: str, tmp_path: Path) -> None:
    """As far as can be known without azd, which is not here. What az gets is only rehearsed."""
    parameters = json.loads((ROOT / "infra/main.parameters.json").read_text())["parameters"]
    given = {entry["value"].strip("${}").partition("=")[0] for entry in parameters.values()}
    outputs = set(
        re.findall(r"^output (\w+)", (ROOT / "infra/main.bicep").read_text(), re.MULTILINE)
    )
    for name, *words in rehearse(document, tmp_path):
        if name != "azd":
            continue
        call = " ".join(words)
        assert call.startswith(AZD), call
        if call.startswith("env set"):
            assert words[2] in given, call
        if call.startswith("env get-value"):
            assert words[2] in outputs | given, call


def script_of(document: str) -> str:
    """A page as one script, whose commands have to end as their rules say."""
    lines = [
        "" if document == "README.md" else ". .local/azure.env",
        'curl() { command curl -sS --fail-with-body "$@"; }',
        "trap 'kill -TERM $(jobs -p) 2>/dev/null; wait' EXIT",
    ]
    for command, rule in page_of(document, *ON_A_STACK):
        lines.append(f"printf '\\n\\$ %s\\n' {shlex.quote(command.text)}")
        if command.text == "make up" or command.text.startswith("make up "):
            continue  # the fixture's
        if rule.how is How.BESIDE:
            lines.append(f"{_without_comment(command.text)} >>beside.log 2>&1 &")
        elif rule.how is How.UNTIL:
            lines.append(f"until {_without_comment(command.text)}; do sleep 0.5; done")
        else:
            lines += [
                f"{{ {command.text}\n}}",
                "status=$?",
                f'right=" {" ".join(map(str, rule.statuses))} "',
                '[[ $right == *" $status "* ]] || { echo exit status $status; exit 1; }',
            ]
    return "\n".join(lines)


def _without_comment(text: str) -> str:
    return text.partition("  #")[0].rstrip()


@pytest.fixture(scope="module")
async def clone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """This tree in a folder with a `.local` of its own, where `make up` is running."""
    folder = tmp_path_factory.mktemp("clone")
    for path in ROOT.iterdir():
        if path.name not in (".local", ".git"):
            (folder / path.name).symlink_to(path)
    asked = await asyncio.create_subprocess_exec(
        "make", "-q", ".venv/.installed", cwd=folder, stderr=asyncio.subprocess.DEVNULL
    )
    if await asked.wait():
        pytest.skip("make would set .venv up again: run `make setup` first")
    process = await asyncio.create_subprocess_exec(
        *("make", "up"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in process.stdout:
                if b"Ctrl-C stops everything" in line:
                    break
        yield folder
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGINT)
            await process.communicate()


@pytest.mark.slow(whole=True)
@pytest.mark.timeout(2 * PATIENCE_SECONDS)
@pytest.mark.parametrize("document", ORDER)
async def test_the_commands_of_a_page_run_as_they_stand(clone: Path, document: str) -> None:
    home = clone / "home"
    home.mkdir(exist_ok=True)
    (clone / "devices.csv").write_text(
        "deviceId,connectedRegistry,repositories\ngateway-1,plantone,hello-world\n"
    )
    screen = clone / "screen"
    terminal, its_side = pty.openpty()
    os.write(terminal, b"y\n" * 5)  # to every question
    process = await asyncio.create_subprocess_exec(
        *("bash", "-o", "pipefail", "-c", f"exec >{screen} 2>&1\n{script_of(document)}"),
        cwd=clone,
        env={
            "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "BROWSER": "true",
            "SHELL": "/bin/bash",
            "FIRSTPULL_TOKEN": "not needed here",
            "FIRSTPULL_AGENT_HUB_CA": str(clone / ".local/ca.pem"),
            "FIRSTPULL_AGENT_STATE_DIR": str(home / "agent"),
            "FIRSTPULL_AGENT_ENGINE": "oci",
            "FIRSTPULL_DEVICE_CONNECTION_STRING": await connection_string(clone),
        },
        stdin=its_side,
        start_new_session=True,
    )
    try:
        await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        os.close(terminal)
        os.close(its_side)
        said = screen.read_text()
        assert process.returncode == 0, said


async def connection_string(clone: Path) -> str:
    """Of gateway-1, once the hub has it."""
    script = """
    . .local/azure.env
    token=$(curl -sS -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" \
      "$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=https://iothubs.azure.net" |
      jq -r .access_token)
    key=$(curl -s --cacert "$CA_BUNDLE" -H "Authorization: Bearer $token" \
      "https://$IOT_HUB_HOSTNAME/devices/gateway-1?api-version=2021-04-12" |
      jq -r .authentication.symmetricKey.primaryKey)
    echo "HostName=${IOT_HUB_HOSTNAME%:*};DeviceId=gateway-1;SharedAccessKey=$key"
    """
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=clone, stdout=asyncio.subprocess.PIPE
    )
    return (await process.communicate())[0].decode().strip()


@pytest.mark.slow
def test_the_picture_of_the_demo_is_of_a_run_like_todays(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    done = subprocess.run(  # noqa: S603 - this project's own make
        [
            *("make", "demo"),
            f"ARGS=--engine oci --workplace {tmp_path} --picture {picture}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown, fresh = (_steps(path.read_text()) for path in (ROOT / "docs/demo.svg", picture))
    assert shown == fresh


def _steps(svg: str) -> list[str]:
    """The first words of each step: what comes after them differs from run to run."""
    lines = re.findall(r">([^<>]+)</text>", svg)
    texts: Iterable[str] = (line.replace("&#160;", " ") for line in lines)
    found = (re.match(r"\s*\d+\.\d\d s  ((?:[a-z]+,? ?){1,3})", text) for text in texts)
    return [match[1].strip() for match in found if match is not None]
