"""Names that the template and the code share: queues, tables, containers, events, open doors."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tree_sitter import Node

from firstpull.intake import event_grid as notices
from firstpull.adapters.storage import account
from firstpull.intake.poison_queue import QUEUES
from tools.check_infra.bicep import BicepFile, line_of, literal, properties, walk
from tools.check_infra.findings import Finding
from tools.check_infra.storage_contents import storage_contents
from tools.check_infra.values import Scope

# Made here for others than firstpull: for the platform and for Event Grid.
_OTHER_CONTAINERS = {"app-package", "event-dead-letters"}
# Behind a function key although open to callers without Entra: DPS has nothing else to show.
_KEY_ONLY = {"provisioning"}
_EVENT_QUEUE = "device-events"


def check_code_names(
    files: Mapping[str, BicepFile], main: Scope, repository: Path
) -> Iterator[Finding]:
    """What the template names, against the code and host.json."""
    yield from _storage(main, repository)
    yield from _handed_on(files, main)
    yield from _events(main)
    yield from _open_paths(files, repository)


def _storage(main: Scope, repository: Path) -> Iterator[Finding]:
    expected = {
        "queues": {*QUEUES, *(f"{name}-poison" for name in QUEUES)},
        "tables": {account.RECORDS_TABLE},
        "containers": {
            account.MEMBERSHIP_CONTAINER,
            account.SWEEPS_CONTAINER,
            *_OTHER_CONTAINERS,
        },
    }
    triggers = set(_queues_of_triggers(repository))
    if triggers != set(QUEUES):
        yield Finding("main.bicep", 1, f"the triggers read {sorted(triggers)}, not {QUEUES}")
    for kind, names in storage_contents(main).items():
        for name in sorted(expected[kind] ^ set(names)):
            where = "the code" if name in expected[kind] else "the template"
            yield Finding("main.bicep", 1, f"only {where} has {name} among the {kind}")


def _handed_on(files: Mapping[str, BicepFile], main: Scope) -> Iterator[Finding]:
    """Containers that modules are told of are made; modules use what they are told."""
    made = set(storage_contents(main)["containers"])
    for module in main.file.of_kind("module"):
        for name, node in module.params.items():
            if name.endswith("ContainerName") and main.value_of(node) not in made:
                message = f"{module.name} uses {main.value_of(node)}, a container that is not made"
                yield Finding("main.bicep", line_of(node), message)
    for file in files.values():
        for node in walk(file.root):
            for name, value in properties(node).items():
                if name in ("queueName", "blobContainerName") and value.type == "string":
                    message = f"{name} is written out, and not what the module is told"
                    yield Finding(file.name, line_of(value), message)


def _events(main: Scope) -> Iterator[Finding]:
    known = {value for name in vars(notices) for value in _event_names(getattr(notices, name))}
    subscribed: set[str] = set()
    for module in main.file.of_kind("module"):
        params = module.params
        if "eventTypes" in params:
            subscribed.update(main.value_of(params["eventTypes"]))
            queue = main.value_of(params["queueName"])
            if queue != _EVENT_QUEUE:
                message = f"events go to {queue}, where the app does not hear them"
                yield Finding("main.bicep", module.line, message)
    for name in sorted(known ^ subscribed):
        where = "subscribed to" if name in subscribed else "heard"
        yield Finding("main.bicep", 1, f"the event {name} is only {where}")


def _event_names(value: object) -> Iterator[str]:
    values = value if isinstance(value, tuple) else (value,)
    for one in values:
        if isinstance(one, str) and one.startswith(("Microsoft.Devices.", "Microsoft.KeyVault.")):
            yield one


def _open_paths(files: Mapping[str, BicepFile], repository: Path) -> Iterator[Finding]:
    host = json.loads((repository / "host.json").read_text())
    prefix = host["extensions"]["http"]["routePrefix"]
    levels = dict(_levels_of_routes(repository))
    expected = {
        f"/{prefix}/{route}"
        for route, level in levels.items()
        if level == "ANONYMOUS" or route in _KEY_ONLY
    }
    for file in files.values():
        for path, node in _listed_paths(file):
            if path not in expected:
                yield Finding(file.name, line_of(node), f"{path} is not open in the code")
            expected.discard(path)
    for path in sorted(expected):
        yield Finding("modules/app.bicep", 1, f"{path} is open in the code, and not let through")


def _listed_paths(file: BicepFile) -> Iterator[tuple[str, Node]]:
    variable = file.find("var", "openPaths")
    if variable is not None:
        for node in walk(variable.node):
            path = literal(node) if node.type == "string" else None
            if path is not None:
                yield path, node


def _queues_of_triggers(repository: Path) -> Iterator[str]:
    for module, call in _decorators(repository, "queue_trigger"):
        value = next(k.value for k in call.keywords if k.arg == "queue_name")
        if isinstance(value, ast.Name):
            value = next(
                node.value
                for node in module.body
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == value.id
            )
        yield str(ast.literal_eval(value))


def _levels_of_routes(repository: Path) -> Iterator[tuple[str, str]]:
    for _module, call in _decorators(repository, "route"):
        level = next(k.value for k in call.keywords if k.arg == "auth_level")
        yield str(ast.literal_eval(call.args[0])), ast.unparse(level).rpartition(".")[2]


def _decorators(repository: Path, name: str) -> Iterator[tuple[ast.Module, ast.Call]]:
    for module in _doors(repository):
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == name:
                yield module, node


@cache
def _doors(repository: Path) -> tuple[ast.Module, ...]:
    paths = sorted((repository / "functions").glob("*.py"))
    return tuple(ast.parse(path.read_text()) for path in paths)
