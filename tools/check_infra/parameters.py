"""main.parameters.json: every parameter of main.bicep, each from a variable of the environment."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.check_infra.bicep import BicepFile
from tools.check_infra.findings import Finding

_FILE = "main.parameters.json"
# Left out on purpose: the same in every stage of a cloud.
_NOT_IN_THE_ENVIRONMENT = {"iotHubSuffix"}


def check_parameters(files: Mapping[str, BicepFile], folder: Path) -> Iterator[Finding]:
    """The parameters that azd hands over. Defaults are in main.bicep only."""
    declared = {parameter.name for parameter in files["main.bicep"].of_kind("param")}
    try:
        given = json.loads((folder / _FILE).read_text())["parameters"]
    except ValueError:
        yield Finding(_FILE, 1, "this is no JSON")
        return
    for name in sorted(declared - given.keys() - _NOT_IN_THE_ENVIRONMENT):
        yield Finding(_FILE, 1, f"the parameter {name} cannot be set")
    for name in sorted(given.keys() - declared):
        yield Finding(_FILE, 1, f"main.bicep has no parameter {name}")
    variables = Counter(entry["value"] for entry in given.values())
    for value, count in variables.items():
        if not re.fullmatch(r"\$\{[A-Z][A-Z0-9_]*\}", str(value)):
            yield Finding(_FILE, 1, f"{value!r} is not a variable of the environment")
        if count > 1:
            yield Finding(_FILE, 1, f"{value} is there {count} times")
