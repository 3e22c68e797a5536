"""What engines are asked to do, seen by stand-ins on the PATH that record it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from firstpull_agent.applied import Applied
from firstpull_agent.engines import Engine
from firstpull_agent.engines.choice import Kind, Places, UnusableSettings, choose_engine
from firstpull_agent.images import Image
from firstpull_agent.reports import Failure, Reason

from .deliveries import PASSWORD, USERNAME, delivery
from .fake_registry import AUTHORITY

SITE = "10.0.0.4:8080"
DIGEST = "sha256:" + "ab" * 32
IMAGE = Image("hello-world", "v1")

_STUB = """#!/bin/sh
printf '%s\\n' "${0##*/} $*" >> RECORD/argv
/usr/bin/env >> RECORD/environment
/bin/cat >> RECORD/stdin
/bin/cat RECORD/says
/bin/cat RECORD/complains >&2
exit $(/bin/cat RECORD/status)
"""


@dataclass(frozen=True)
class Machine:
    """A machine with some commands, and a record of what they were called with."""

    folder: Path

    def install(self, *names: str) -> None:
        for name in names:
            stub = self.folder / "bin" / name
            stub.write_text(_STUB.replace("RECORD", str(self.folder)))
            stub.chmod(0o755)

    def answers(self, says: str = "", *, complains: str = "", status: int = 0) -> None:
        (self.folder / "says").write_text(says)
        (self.folder / "complains").write_text(complains)
        (self.folder / "status").write_text(str(status))

    def engine(self, kind: Kind, *, defaults: bool = False) -> Engine:
        places = Places(
            state_dir=self.folder / "state",
            auth_file=None if defaults else self.auth_file,
            certs_dir=None if defaults else self.folder / "certs.d",
        )
        return choose_engine(kind, places)

    @property
    def auth_file(self) -> Path:
        return self.folder / "auth" / "config.json"

    def recorded(self, what: str) -> str:
        file = self.folder / what
        return file.read_text() if file.exists() else ""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    machine = Machine(tmp_path)
    machine.answers()
    return machine


def _login(**changes: object) -> Applied:
    wanted = delivery(SITE, **changes)
    return Applied(
        name=wanted.name,
        delivery_id=wanted.delivery_id,
        address=wanted.address,
        username=wanted.username,
        repositories=wanted.repositories,
        insecure=wanted.insecure,
        auth_file="auth.json",
        certs_dir=None,
    )


@pytest.mark.parametrize("kind", [Kind.DOCKER, Kind.PODMAN, Kind.SKOPEO])
def test_the_password_goes_to_standard_input_and_nowhere_else(
    machine: Machine, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTPULL_DEVICE_CONNECTION_STRING", "HostName=h;SharedAccessKey=k")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "somebody else's logins")
    machine.install(kind)
    machine.engine(kind).login(delivery(SITE))

    argv, environment = machine.recorded("argv"), machine.recorded("environment")
    assert argv.startswith(f"{kind} login ")
    assert f"--username={USERNAME} --password-stdin" in argv
    assert argv.rstrip().endswith(f" {SITE}")
    assert machine.recorded("stdin") == PASSWORD
    assert PASSWORD not in argv + environment
    assert "SharedAccessKey" not in environment
    assert "DOCKER_AUTH_CONFIG" not in environment


@pytest.mark.parametrize("kind", [Kind.DOCKER, Kind.PODMAN, Kind.SKOPEO])
def test_a_failing_login_is_told_without_the_password(machine: Machine, kind: Kind) -> None:
    machine.install(kind)
    machine.answers(complains=f"denied\nfor {PASSWORD}", status=1)
    with pytest.raises(Failure) as failed:
        machine.engine(kind).login(delivery(SITE))

    assert failed.value.reason is Reason.ENGINE_FAILED
    assert failed.value.detail == f"{kind} login failed: denied for (hidden)"


def test_docker_is_pointed_at_the_folder_of_its_auth_file(machine: Machine) -> None:
    machine.install("docker")
    machine.engine(Kind.DOCKER).login(delivery(SITE))

    assert f"DOCKER_CONFIG={machine.auth_file.parent}\n" in machine.recorded("environment")


@pytest.mark.parametrize("kind", [Kind.PODMAN, Kind.SKOPEO])
def test_podman_and_skopeo_are_told_where_everything_is(machine: Machine, kind: Kind) -> None:
    machine.install(kind)
    engine = machine.engine(kind)
    engine.login(delivery(SITE, ca=AUTHORITY.ca_pem))
    engine.login(delivery(SITE, insecure=True))

    with_ca, insecure = machine.recorded("argv").splitlines()
    assert f"--authfile={machine.auth_file} " in with_ca
    assert f" --cert-dir={machine.folder}/certs.d/{SITE} " in with_ca
    assert "tls-verify" not in with_ca
    assert " --tls-verify=false " in insecure
    assert "cert-dir" not in insecure


def test_in_its_own_folder_podman_looks_for_certificates_without_being_told(
    machine: Machine,
) -> None:
    machine.install("podman")
    machine.engine(Kind.PODMAN, defaults=True).login(delivery(SITE, ca=AUTHORITY.ca_pem))

    assert "cert-dir" not in machine.recorded("argv")


@pytest.mark.parametrize(
    ("kind", "auth_file", "certs_dir"),
    [
        (Kind.DOCKER, "home/.docker/config.json", "/etc/docker/certs.d"),
        (Kind.PODMAN, "home/.config/containers/auth.json", "/etc/containers/certs.d"),
        (Kind.SKOPEO, "home/.config/containers/auth.json", "/etc/containers/certs.d"),
        (Kind.OCI, "state/auth.json", "state/certs.d"),
    ],
)
def test_each_engine_has_its_own_places(
    machine: Machine, kind: Kind, auth_file: str, certs_dir: str
) -> None:
    machine.install(*({kind} - {Kind.OCI}))
    engine = machine.engine(kind, defaults=True)

    assert engine.auth_file.path == machine.folder / auth_file
    assert engine.ca_files.folder(SITE) == machine.folder / certs_dir / SITE


@pytest.mark.parametrize("kind", [Kind.DOCKER, Kind.PODMAN, Kind.SKOPEO])
def test_a_logout_is_asked_for_only_where_there_is_a_login(machine: Machine, kind: Kind) -> None:
    machine.install(kind)
    engine = machine.engine(kind)
    engine.logout(SITE)
    assert machine.recorded("argv") == ""

    machine.auth_file.parent.mkdir()
    machine.auth_file.write_text('{"auths": {"10.0.0.4:8080": {"auth": "YTpi"}}}')
    engine.logout(SITE)
    assert machine.recorded("argv").startswith(f"{kind} logout ")


@pytest.mark.parametrize(
    ("kind", "says", "calls"),
    [
        (Kind.DOCKER, f"v1: Pulling\nDigest: {DIGEST}\nStatus: new\n", [f"docker pull {SITE}/"]),
        (Kind.PODMAN, f"{DIGEST}\n", ["podman pull --quiet --authfile=", "podman image inspect "]),
    ],
)
def test_a_pull_names_the_digest(
    machine: Machine, kind: Kind, says: str, calls: list[str], tmp_path: Path
) -> None:
    machine.install(kind)
    machine.answers(says)
    assert machine.engine(kind).pull(IMAGE, _login(), output=tmp_path / "x") == DIGEST

    made = machine.recorded("argv").splitlines()
    assert all(made[i].startswith(call) for i, call in enumerate(calls))
    assert made[0].endswith(f"{SITE}/hello-world:v1")


def test_skopeo_copies_into_a_folder_with_the_options_for_its_source(
    machine: Machine, tmp_path: Path
) -> None:
    machine.install("skopeo")
    machine.answers(complains="manifest unknown", status=1)
    with pytest.raises(Failure, match="manifest unknown"):
        machine.engine(Kind.SKOPEO).pull(IMAGE, _login(insecure=True), output=tmp_path / "x")

    argv = machine.recorded("argv")
    assert f" --src-authfile={machine.auth_file} --src-tls-verify=false " in argv
    assert argv.endswith(f" docker://{SITE}/hello-world:v1 dir:{tmp_path}/x\n")


@pytest.mark.parametrize(
    ("installed", "daemon", "chosen"),
    [
        (("docker", "podman", "skopeo"), "28.2.2\n", "docker"),
        (("docker", "podman", "skopeo"), "\n", "podman"),
        (("docker", "skopeo"), "\n", "skopeo"),
        ((), "", "oci"),
    ],
)
def test_auto_takes_the_first_that_works(
    machine: Machine, installed: tuple[str, ...], daemon: str, chosen: str
) -> None:
    machine.install(*installed)
    machine.answers(daemon)

    assert machine.engine(Kind.AUTO).name == chosen


def test_auto_passes_over_a_docker_whose_daemon_is_down(machine: Machine) -> None:
    machine.install("docker")
    machine.answers("28.2.2", complains="Cannot connect to the Docker daemon", status=1)

    assert machine.engine(Kind.AUTO).name == "oci"


def test_an_engine_that_is_not_there_is_named(machine: Machine) -> None:
    with pytest.raises(UnusableSettings, match="podman is not installed"):
        machine.engine(Kind.PODMAN)


def test_docker_is_not_given_an_auth_file_that_it_would_not_read(machine: Machine) -> None:
    machine.install("docker")
    with pytest.raises(UnusableSettings, match=r"config\.json"):
        choose_engine(Kind.DOCKER, Places(machine.folder, auth_file=machine.folder / "auth.json"))
