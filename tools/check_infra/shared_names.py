"""Names that the templates and the code share: queues, tables, containers, events, open routes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator, Mapping

from firstpull.adapters.storage import account
from firstpull.intake import event_grid
from firstpull.intake.poison_queue import QUEUES
from functions.endpoints import ROUTE_PREFIX
from functions.openapi import document
from tools.check_infra.bicep import BicepFile, Finding, line_of, literal, text, walk

_EVENT_QUEUE = "device-events"
# For the platform, Event Grid, and whoever writes the policy; firstpull writes to none of them.
_DEAD_LETTERS = "event-dead-letters"
_OTHER_CONTAINERS = {"app-package", "policy", _DEAD_LETTERS}
# Needs a function key. A provisioning service has no Entra token to send with it.
_KEY_ONLY = {"/provisioning"}


def check_shared_names(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Compares each list of names in the templates with the code's."""
    main, app = files["main.bicep"], files["modules/app.bicep"]
    topic = files["existing-system-topic.bicep"]
    containers = {account.MEMBERSHIP_CONTAINER, account.SWEEPS_CONTAINER, *_OTHER_CONTAINERS}
    yield from _compare(main, "queueNames", QUEUES)
    yield from _compare(main, "tableNames", {account.RECORDS_TABLE})
    yield from _compare(main, "containerNames", containers)
    yield from _compare(main, "eventQueueName", {_EVENT_QUEUE})
    yield from _compare(app, "openPaths", set(_open_paths()))
    if not any(text(node) == "'${name}-poison'" for node in walk(main.root)):
        yield Finding(main.name, 1, "there are no poison queues")
    yield from _compare(topic, "eventQueueName", {_EVENT_QUEUE})
    yield from _compare(topic, "deadLetterContainerName", {_DEAD_LETTERS})
    yield from _events(main, "Microsoft.")
    yield from _events(topic, "Microsoft.Devices.")


def _compare(file: BicepFile, variable: str, expected: Collection[str]) -> Iterator[Finding]:
    found = {literal(node): line_of(node) for node in file.nodes(variable)}
    for name in found.keys() ^ {None, *expected}:
        where = "the template" if name in found else "the code"
        yield Finding(file.name, found.get(name, 1), f"only {where} has {name} in {variable}")


def _open_paths() -> Iterator[str]:
    """The routes that callers without an Entra token use."""
    for path, methods in document()["paths"].items():
        if path in _KEY_ONLY or any(method.get("security") == [] for method in methods.values()):
            yield f"{ROUTE_PREFIX}{path}"


def _events(file: BicepFile, beginning: str) -> Iterator[Finding]:
    source = inspect.getsource(event_grid)
    known = set(re.findall(r'"(Microsoft\.(?:Devices|KeyVault)\.\w+)"', source))
    handled = {name for name in known if name.startswith(beginning)}
    given = [module for module in file.declarations if "eventTypes" in module.params]
    nodes = [node for module in given for node in walk(module.params["eventTypes"])]
    for name in handled ^ (set(map(literal, nodes)) - {None}):
        what = "handled" if name in handled else "subscribed to"
        yield Finding(file.name, 1, f"the event {name} is only {what}")
    for module in given:
        queue = text(module.params["queueName"])
        if queue != "eventQueueName":
            yield Finding(file.name, module.line, f"events go to {queue}, which has no trigger")
