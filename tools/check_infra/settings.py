"""App settings, and the policy among them: the template sets what the app and its host read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel
from tree_sitter import Node

from firstpull.config.fields import OnboardingTarget
from firstpull.config.policy import ConnectedRegistryPolicy, HubPolicy, Policy, SitePolicy
from firstpull.config.settings import Settings
from tools.check_infra.bicep import (
    BicepFile,
    Finding,
    arguments,
    line_of,
    literal,
    properties,
    text,
    walk,
)

_VAULT_REFERENCE = "'@Microsoft.KeyVault("
# Storage and telemetry are reached with the app's identity, so that no setting holds a key.
# The Functions host serves no start page.
_EXPRESSIONS = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "'ClientId=${identityClientId};Authorization=AAD'",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "applicationInsightsConnectionString",
    "AZURE_CLIENT_ID": "identityClientId",
    "AzureWebJobsDisableHomepage": "'true'",
    "AzureWebJobsStorage__blobServiceUri": "storageEndpoints.blob",
    "AzureWebJobsStorage__clientId": "identityClientId",
    "AzureWebJobsStorage__credential": "'managedidentity'",
    "AzureWebJobsStorage__queueServiceUri": "storageEndpoints.queue",
    "AzureWebJobsStorage__tableServiceUri": "storageEndpoints.table",
    "FIRSTPULL_DEPLOYMENT": "deploymentName",
    "PYTHON_ENABLE_OPENTELEMETRY": "'true'",
}
_CONNECTION_STRING = "AzureWebJobsStorage"
_TYPES: Mapping[str, type[BaseModel]] = {
    "policyType": Policy,
    "hubType": HubPolicy,
    "connectedRegistryType": ConnectedRegistryPolicy,
    "siteType": SitePolicy,
    "targetType": OnboardingTarget,
}
# The same in every environment of a cloud.
_NOT_FROM_THE_ENVIRONMENT = {"iotHubSuffix"}


def check_settings(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Compares the function app's settings with the fields of firstpull's settings."""
    file = files["modules/app.bicep"]
    places = [properties(node) for node in walk(file.root) if "name" in properties(node)]
    found = [place["properties"] for place in places if literal(place["name"]) == "appsettings"]
    if len(found) != 1 or any("appSettings" in properties(node) for node in walk(file.root)):
        yield Finding(file.name, 1, "app settings are not in exactly one place")
        return
    parts = list(_parts(file, found[0]))
    given = {name: value for part, _ in parts for name, value in properties(part).items()}
    always = {name for part, is_always in parts if is_always for name in properties(part)}
    known = {
        str(field.validation_alias or f"FIRSTPULL_{name.upper()}"): field
        for name, field in Settings.model_fields.items()
    }
    required = {name for name, field in known.items() if field.is_required()}
    for name in sorted((required | _EXPRESSIONS.keys()) - always):
        yield Finding(file.name, line_of(found[0]), f"the setting {name} is not always set")
    for name, value in given.items():
        source = text(value)
        if name == _CONNECTION_STRING or name not in known | _EXPRESSIONS:
            yield Finding(file.name, line_of(value), f"firstpull knows no setting {name}")
        elif "Secret" in repr(known.get(name)) and not source.startswith(_VAULT_REFERENCE):
            yield Finding(file.name, line_of(value), f"{name} is not a reference to the vault")
        elif source != _EXPRESSIONS.get(name, source):
            yield Finding(file.name, line_of(value), f"{name} is not {_EXPRESSIONS[name]}")


def _parts(file: BicepFile, node: Node, *, is_always: bool = True) -> Iterator[tuple[Node, bool]]:
    """The objects that an expression unites, each with whether it is always among them."""
    variable = file.find("variable", text(node))
    if node.type == "ternary_expression":
        for branch in node.named_children[1:]:
            yield from _parts(file, branch, is_always=False)
    elif variable is not None and variable.value is not None:
        yield from _parts(file, variable.value, is_always=is_always)
    elif united := arguments(node, "union"):
        for argument in united:
            yield from _parts(file, argument, is_always=is_always)
    else:
        yield node, is_always


def check_policy(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Compares the policy that main.bicep composes with the fields of firstpull's policy."""
    main, app = files["main.bicep"], files["modules/app.bicep"]
    models = (Policy, HubPolicy, ConnectedRegistryPolicy)
    known = {name for model in models for name in _fields(model)}
    for node in main.nodes("wholePolicy"):
        for name in properties(node).keys() - known:
            yield Finding(main.name, line_of(node), f"the policy has no field {name}")
    yield from _types(files["types.bicep"])
    # ARM refuses a deployment that names nothing. Without this it makes an app that cannot start.
    for field in Policy.model_fields.values():
        needs_one = any(getattr(rule, "min_length", 0) for rule in field.metadata)
        if needs_one and f"@minLength(1) param {field.alias} " not in text(app.root):
            yield Finding(app.name, 1, f"the app's {field.alias} may be empty")


def _types(file: BicepFile) -> Iterator[Finding]:
    """Compares the types of parameters, by which ARM refuses unknown fields, with the policy's."""
    for name, model in _TYPES.items():
        declared = file.find("type", name)
        if declared is None:
            yield Finding(file.name, 1, f"there is no {name}")
            continue
        for field in properties(declared.node.named_children[1]).keys() ^ _fields(model):
            where = "the policy" if field in _fields(model) else name
            yield Finding(file.name, declared.line, f"only {where} has the field {field}")


def _fields(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def check_parameters(files: Mapping[str, BicepFile], folder: Path) -> Iterator[Finding]:
    """Compares main.parameters.json, which no compiler reads, with main.bicep's parameters."""
    given = json.loads((folder / "main.parameters.json").read_text())["parameters"].keys()
    declared = {d.name for d in files["main.bicep"].declarations if d.kind == "parameter"}
    for name in sorted((declared - _NOT_FROM_THE_ENVIRONMENT) ^ given):
        where = "main.bicep" if name in declared else "this file"
        yield Finding("main.parameters.json", 1, f"only {where} has the parameter {name}")
