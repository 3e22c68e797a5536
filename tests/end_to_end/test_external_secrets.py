"""Without an agent, a cluster's operator makes the pull secret of what Key Vault holds."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient

from local_azure.stack import Stack
from local_azure.stack.options import CLIENT_ID
from tests.device_agent.chart import HELM, ROOT

from .cloud import entry_of, pull_answers, register, site_of
from .deployments import Deployment, deployed

PLANT, DEVICE = "plant29", "external-secrets-1"
PAGE = ROOT / "docs/kubernetes.md"


@pytest.fixture(scope="module")
async def deployment(stack: Stack) -> AsyncIterator[Deployment]:
    async with deployed(stack, "external", PLANT) as it:
        yield it


def manifest() -> dict[str, Any]:
    """The page's ExternalSecret."""
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    document: dict[str, Any] = yaml.safe_load(text)
    return document


async def fetched(stack: Stack, secret: str) -> dict[str, str]:
    """What the operator fetches for each entry of `data`: the value, or with a policy one tag."""
    async with (
        ManagedIdentityCredential(client_id=CLIENT_ID) as credential,
        SecretClient(stack.key_vault_url, credential) as vault,
    ):
        found = await vault.get_secret(secret)
    tags, data = found.properties.tags or {}, {}
    for item in manifest()["spec"]["data"]:
        reference = item["remoteRef"]
        is_tag = reference.get("metadataPolicy") == "Fetch"
        data[item["secretKey"]] = tags[reference["property"]] if is_tag else found.value or ""
    return data


def templated(template: str, data: dict[str, str], folder: Path) -> str:
    """The template by Go's engine with Sprig's functions, which both Helm and the operator use."""
    chart = folder / "chart"
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: page\nversion: 0.0.1\n")
    (chart / "templates/content.txt").write_text("{{ with .Values }}" + template + "{{ end }}")
    script = (
        "import json, sys; from helm_python.chart import Chart; values = json.load(sys.stdin);"
        f"print(Chart.load({str(chart)!r}).render(values)['page/templates/content.txt'])"
    )
    done = subprocess.run(  # noqa: S603 - our own environment
        [str(HELM), "-c", script],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(not HELM.exists(), reason="Helm's library is not here: `make helm`")
async def test_the_pages_manifest_makes_a_pull_secret_that_pulls(
    deployment: Deployment, tmp_path: Path
) -> None:
    stack = deployment.stack
    register(stack, DEVICE)
    await deployment.ask(DEVICE)
    record = await deployment.come_to_rest(DEVICE)
    assert record.status.grant is not None
    site_of(stack, PLANT).backend.sync()
    data = await fetched(stack, record.status.grant.names.secret)

    target = manifest()["spec"]["target"]["template"]
    assert target["type"] == "kubernetes.io/dockerconfigjson"
    content = json.loads(templated(target["data"][".dockerconfigjson"], data, tmp_path))
    entry = entry_of(stack, DEVICE, PLANT)
    login = content["auths"][entry["address"]]
    auth = base64.b64encode(f"{entry['username']}:{entry['password']}".encode()).decode()
    expected = {"username": entry["username"], "password": entry["password"], "auth": auth}
    assert login == expected
    assert await pull_answers(stack, {"address": entry["address"], **login}) == 200


def test_the_page_names_one_secret_and_one_pull_secret() -> None:
    document = manifest()
    assert len({item["remoteRef"]["key"] for item in document["spec"]["data"]}) == 1
    assert document["spec"]["target"]["name"] == document["metadata"]["name"]
