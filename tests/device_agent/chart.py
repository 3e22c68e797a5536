"""The device agent's chart, rendered."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
HELM = ROOT / ".local/helm/bin/python"
"""The environment that `make helm` makes."""
RENDERED = Path(__file__).parent / "rendered"
RELEASE, NAMESPACE, ACCOUNT = "edge", "firstpull", "edge-firstpull-agent"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"

_IMAGE = {"repository": "contoso.azurecr.io/firstpull-agent"}
VALUES: dict[str, dict[str, Any]] = {
    "named": {"namespaces": ["press", "weld"], "serviceAccounts": ["default"], "image": _IMAGE},
    "selected": {
        "namespaceSelector": "team=a",
        "serviceAccounts": ["default"],
        "image": _IMAGE,
        "device": {"hub": "contoso.azure-devices.net", "deviceId": "press-cluster"},
    },
}


def render(values: dict[str, Any], *, namespace: str = NAMESPACE) -> str:
    """All manifests as one YAML stream. Raises CalledProcessError for values that are refused."""
    asked = {"values": values, "name": RELEASE, "namespace": namespace}
    done = subprocess.run(  # noqa: S603 - our own script
        [str(HELM), "tools/render_chart.py"],
        cwd=ROOT,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    texts = (text.strip() for _, text in sorted(json.loads(done.stdout).items()))
    return "\n---\n".join(text.removeprefix("---\n") for text in texts) + "\n"


def manifests(name: str) -> list[dict[str, Any]]:
    """The manifests of `VALUES[name]`, as they were rendered last."""
    text = (RENDERED / f"{name}.yaml").read_text()
    return [document for document in yaml.safe_load_all(text) if document]
