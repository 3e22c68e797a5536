"""The chart: what Helm makes of it, and that a hardened cluster takes it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import firstpull_agent
import pytest
import yaml  # type: ignore[import-untyped]
from firstpull_agent.credential_helper import DEFAULT_STATE_DIR

from tests.device_agent.chart import HELM, RENDERED, ROOT, VALUES, manifests, render

with_helm = pytest.mark.skipif(not HELM.exists(), reason="Helm's library is not here: `make helm`")


@with_helm
@pytest.mark.parametrize("name", sorted(VALUES))
def test_helm_renders_what_the_tests_hold(name: str) -> None:
    """With RENDER_CHART=1, the files are written anew."""
    rendered = render(VALUES[name])
    file = RENDERED / f"{name}.yaml"
    if os.environ.get("RENDER_CHART"):
        file.write_text(rendered)
    assert file.read_text() == rendered


@with_helm
@pytest.mark.parametrize(
    "wrong",
    [
        {"namespaces": []},
        {"namespaces": ["Press"]},
        {"namespaces": "press"},
        {"image": {}},
        {"secretPrefix": "Firstpull_"},
        {"nameSpaces": ["press"]},
        {"device": {"hub": "contoso.azure-devices.net"}},
    ],
)
def test_helm_refuses_values_that_cannot_work(wrong: dict[str, Any]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        render({**VALUES["named"], **wrong})


@with_helm
def test_helm_refuses_names_that_no_label_can_hold() -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render(VALUES["named"], namespace="n" * 60)
    assert "at most 62 characters" in refused.value.stderr


@with_helm
def test_a_claim_holds_the_state_of_an_agent_that_opens_sealed_deliveries() -> None:
    rendered = render({**VALUES["named"], "stateClaim": "agent-state"})
    (found,) = (one for one in yaml.safe_load_all(rendered) if one and one["kind"] == "Deployment")
    spec = found["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts["state"] == str(DEFAULT_STATE_DIR)
    claims = [volume.get("persistentVolumeClaim") for volume in spec["volumes"]]
    assert {"claimName": "agent-state"} in claims


def pod(name: str = "named") -> dict[str, Any]:
    (found,) = (one for one in manifests(name) if one["kind"] == "Deployment")
    template: dict[str, Any] = found["spec"]["template"]["spec"]
    return template


def test_the_pod_is_restricted() -> None:
    """What the Pod Security Standard `restricted` demands, and a read-only root besides."""
    (container,) = pod()["containers"]
    of_pod, own = pod()["securityContext"], container["securityContext"]
    assert of_pod["runAsNonRoot"] is True
    assert of_pod["runAsUser"] > 0
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(volume.keys() == {"name", "secret"} for volume in pod()["volumes"])


def test_the_pod_has_probes_where_the_agent_answers() -> None:
    (container,) = pod()["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    (port,) = container["ports"]
    assert environment["FIRSTPULL_AGENT_PROBE_PORT"] == str(port["containerPort"])
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness")}
    assert probes["liveness"] == {"path": "/livez", "port": port["name"]}
    assert probes["readiness"] == {"path": "/readyz", "port": port["name"]}


def test_one_agent_runs_at_a_time() -> None:
    (found,) = (one for one in manifests("named") if one["kind"] == "Deployment")
    assert (found["spec"]["replicas"], found["spec"]["strategy"]["type"]) == (1, "Recreate")


def test_each_variable_sets_an_option_of_the_command() -> None:
    run = subprocess.run(  # noqa: S603 - our own command
        [str(ROOT / ".venv/bin/firstpull-agent"), "run", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    options = set(re.findall(r"--([a-z-]+)", run.stdout))
    for name in VALUES:
        for item in pod(name)["containers"][0]["env"]:
            option = item["name"].removeprefix("FIRSTPULL_AGENT_").lower().replace("_", "-")
            assert option in options, item["name"]


def test_chart_image_and_agent_have_one_version() -> None:
    chart = yaml.safe_load((ROOT / "device_agent/charts/firstpull-agent/Chart.yaml").read_text())
    assert chart["appVersion"] == firstpull_agent.__version__
    assert pod()["containers"][0]["image"].endswith(f":{firstpull_agent.__version__}")


def test_the_image_is_built_of_files_that_are_there() -> None:
    folder = ROOT / "device_agent"
    text = (folder / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, flags=re.MULTILINE)
    assert copied
    for sources in copied:
        for source in sources.split():
            assert Path(folder, source).exists(), source
    assert "USER 65532:65532" in text
    assert "--require-hashes" in text
