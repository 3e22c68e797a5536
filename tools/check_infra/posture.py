"""What a security team signs: values that the documents promise, as posture.json lists them.

A path leads through objects and lists, and through whatever an expression chooses or unites.
null stands for what must not be set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tree_sitter import Node

from tools.check_infra.bicep import (
    BicepFile,
    Declaration,
    arguments,
    is_call,
    line_of,
    literal,
    properties,
    text,
    walk,
)
from tools.check_infra.findings import Finding
from tools.check_infra.modules import REGISTRY

_PROMISED: Mapping[str, Mapping[str, str | None]] = json.loads(
    Path(__file__).with_name("posture.json").read_text()
)
_CONFIGS = ("appsettings", "authsettingsV2")
_WORDS = {"param": "parameter", "var": "variable"}


def check_posture(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """The promised value of each property, and that there is one of each kind at all."""
    missing = set(_PROMISED)
    for file in files.values():
        for kind, node, given in _made(file):
            missing.discard(kind)
            for path, promised in _PROMISED.get(kind, {}).items():
                found = _at(given, path)
                if _spelled(found) != promised:
                    message = f"{path} of {kind} {_is(found)}, where {_promise(promised)}"
                    yield Finding(file.name, line_of(found or node), message)
    for kind in sorted(missing):
        yield Finding("main.bicep", 1, f"there is no {kind}")


def _made(file: BicepFile) -> Iterator[tuple[str, Node, Mapping[str, Node]]]:
    """What promises can be about: its kind, where it is, and what it is given."""
    for made in file.of_kind("resource", "module"):
        if not made.is_existing:
            given = made.params if made.kind == "module" else made.body
            yield _kind(made), made.node, given
    for node in walk(file.root):
        pairs = properties(node)
        name = literal(pairs["name"]) if "name" in pairs else None
        if name in _CONFIGS and "properties" in pairs:
            yield f"sites/config/{name}", node, _inside(pairs["properties"])
    for declaration in file.of_kind("param", "var"):
        given = {} if declaration.value is None else {"value": declaration.value}
        yield f"{_WORDS[declaration.kind]} {declaration.name}", declaration.node, given


def _kind(made: Declaration) -> str:
    """A resource's type, or a module's path, without a version."""
    return made.target.removeprefix(REGISTRY).partition(":")[0]


def _at(given: Mapping[str, Node], path: str) -> Node | None:
    first, _, rest = path.partition(".")
    node = given.get(first)
    return _at(_inside(node), rest) if node is not None and rest else node


def _inside(node: Node) -> Mapping[str, Node]:
    """The parts of a value by the next step of a path."""
    if node.type == "array":
        return {str(number): item for number, item in enumerate(node.named_children)}
    parts: list[Node] = []
    if node.type == "ternary_expression":
        parts = node.named_children[1:]
    elif is_call(node, "union"):
        parts = arguments(node)
    return {
        **properties(node),
        **{name: value for part in parts for name, value in _inside(part).items()},
    }


def _spelled(node: Node | None) -> str | None:
    """The source of a value, on one line."""
    return None if node is None else " ".join(text(node).split())


def _is(found: Node | None) -> str:
    return "is not set" if found is None else f"is {_spelled(found)}"


def _promise(promised: str | None) -> str:
    return "nothing is promised" if promised is None else f"{promised} is promised"
