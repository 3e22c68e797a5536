"""The app's settings: all that it requires, none that it does not know, no secret as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tree_sitter import Node

from firstpull.config.settings import Settings
from tools.check_infra.bicep import (
    BicepFile,
    arguments,
    is_call,
    line_of,
    literal,
    properties,
    text,
    walk,
)
from tools.check_infra.findings import Finding

_PLATFORM = Path(__file__).with_name("platform_settings.json")
_VAULT_REFERENCE = "'@Microsoft.KeyVault("
_STORAGE = ("storage_blob_url", "storage_queue_url", "storage_table_url")
_CONNECTION_STRING = "storage"


def check_settings(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """The app settings of the function app, against the fields of firstpull's settings."""
    found = [(file, node) for file in files.values() for node in _settings_in(file)]
    if len(found) != 1:
        yield Finding("main.bicep", 1, f"app settings are in {len(found)} places, not in one")
        return
    file, node = found[0]
    parts = list(_parts(file, node))
    given = {name: value for part, _ in parts for name, value in properties(part).items()}
    certain = {name for part, is_certain in parts if is_certain for name in properties(part)}
    yield from _elsewhere(files)
    for part, _ in parts:
        if part.type != "object":
            yield Finding(file.name, line_of(part), f"what settings are in {text(part)}?")
    platform: Mapping[str, str] = json.loads(_PLATFORM.read_text())
    for name in sorted(_required() | platform.keys()):
        if name not in certain:
            whose = "the platform's setting" if name in platform else "the setting"
            lack = "is there under a condition only" if name in given else "is missing"
            yield Finding(file.name, line_of(node), f"{whose} {name} {lack}")
    for name, value in given.items():
        if name not in _known() and name not in platform:
            yield Finding(file.name, line_of(value), f"firstpull knows no setting {name}")
        if name in _secret() and not text(value).startswith(_VAULT_REFERENCE):
            yield Finding(file.name, line_of(value), f"{name} is not a reference to the vault")


def _settings_in(file: BicepFile) -> Iterator[Node]:
    for node in walk(file.root):
        pairs = properties(node)
        if "name" in pairs and literal(pairs["name"]) == "appsettings":
            yield pairs["properties"]


def _parts(file: BicepFile, node: Node, *, is_certain: bool = True) -> Iterator[tuple[Node, bool]]:
    """What an expression is put together from, and whether each part is always in it."""
    variable = file.find("var", text(node)) if node.type == "identifier" else None
    if is_call(node, "union"):
        for argument in arguments(node):
            yield from _parts(file, argument, is_certain=is_certain)
    elif node.type == "ternary_expression":
        for branch in node.named_children[1:]:
            yield from _parts(file, branch, is_certain=False)
    elif variable is not None and variable.value is not None:
        yield from _parts(file, variable.value, is_certain=is_certain)
    else:
        yield node, is_certain


def _elsewhere(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Settings by the other way that the platform has."""
    for file in files.values():
        for node in walk(file.root):
            pairs = properties(node)
            if "appSettings" in pairs:
                line = line_of(pairs["appSettings"])
                yield Finding(file.name, line, "app settings are in siteConfig, too")


def _variable(field: str) -> str:
    alias = Settings.model_fields[field].validation_alias
    return str(alias or f"FIRSTPULL_{field.upper()}")


def _known() -> set[str]:
    """With an identity there is no connection string."""
    return {_variable(field) for field in Settings.model_fields if field != _CONNECTION_STRING}


def _required() -> set[str]:
    required = {f for f, field in Settings.model_fields.items() if field.is_required()}
    return {_variable(field) for field in (*required, *_STORAGE, "client_id", "deployment")}


def _secret() -> set[str]:
    fields = Settings.model_fields.items()
    return {_variable(name) for name, field in fields if "Secret" in repr(field.annotation)}
