"""The pages about deployment agree with infra/, host.json and azure.yaml."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tools.check_infra.__main__ import REPOSITORY
from tools.check_infra.bicep import read_folder, text

INFRA = REPOSITORY / "infra"
DEPLOYING = REPOSITORY / "docs" / "deploying.md"
LIMITS = REPOSITORY / "docs" / "operating-limits.md"
_ASKED_FOR = ("asked for", "who is logged in")


def rows(document: Path, section: str) -> dict[str, str]:
    """The second cells of a section's table by the code in the first cells."""
    body = document.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", body, re.MULTILINE)
    return {name: value.strip() for name, value in found}


def variables_of_parameters() -> dict[str, str]:
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    return {entry["value"].strip("${}"): name for name, entry in parameters.items()}


def test_every_variable_of_a_stage_is_documented_with_its_default() -> None:
    documented, variables = rows(DEPLOYING, "Settings of a stage"), variables_of_parameters()
    assert documented.keys() == variables.keys()
    main = read_folder(INFRA)["main.bicep"]
    for variable, name in variables.items():
        parameter, default = main.find("parameter", name), documented[variable]
        assert parameter is not None
        if default in _ASKED_FOR or default.endswith("…`"):
            continue
        value = text(parameter.value) if parameter.value is not None else ""
        assert default == (f"`{value.strip("'")}`" if value.strip("'") else "none"), variable


def test_every_setting_of_host_json_is_documented_with_its_value() -> None:
    host = json.loads((REPOSITORY / "host.json").read_text())

    def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[str, str]:  # noqa: ANN401 - JSON
        if isinstance(value, dict):
            return {
                k: v for key, one in value.items() for k, v in leaves(one, (*path, key)).items()
            }
        return {".".join(path): f"`{value}`"}

    chosen = {
        name: value
        for name, value in leaves(host).items()
        if name.startswith(("functionTimeout", "telemetryMode", "singleton.", "extensions."))
    }
    assert rows(LIMITS, "host.json") == chosen


def test_the_package_that_azd_deploys_is_the_one_that_make_package_writes() -> None:
    azure_yaml = (REPOSITORY / "azure.yaml").read_text()
    assert "dist: dist/firstpull.zip" in azure_yaml
    assert "run: make package" in azure_yaml
    assert "remoteBuild: false" in azure_yaml
