"""The values of Bicep expressions, as far as they follow from parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tree_sitter import Node

from tools.check_infra.bicep import (
    BicepFile,
    Declaration,
    arguments,
    literal,
    properties,
    string_part,
    text,
    walk,
)
from tools.check_infra.modules import REGISTRY, file_of

type Value = Any
"""What JSON can hold."""

_NO_ID = "00000000-0000-0000-0000-000000000000"
_UNIQUE = "a1b2c3d4e5f6g"  # uniqueString gives 13 of a-z and 0-9


class NotKnown(Exception):
    """The value follows from more than parameters."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A file of the folder with values for its parameters."""

    file: BicepFile
    folder: Path
    given: Mapping[str, Value]
    local: Mapping[str, Value]

    def value_of(self, node: Node) -> Value:
        """The value of an expression. Raises NotKnown."""
        if node.type not in _READERS:
            raise NotKnown(text(node))
        return _READERS[node.type](self, node)

    def inside(self, declaration: Declaration) -> Scope:
        """The scope of a resource's or module's body. Raises NotKnown where a loop has no round."""
        node = declaration.value
        if node is None or node.type != "for_statement":
            return self
        names, iterable, _body = node.named_children
        leaves = [leaf for leaf in walk(names) if not leaf.named_children]
        rounds = self.value_of(iterable)
        if not rounds:
            raise NotKnown(text(iterable))
        local = dict(zip([text(leaf) for leaf in leaves], (rounds[0], 0), strict=False))
        return replace(self, local={**self.local, **local})

    def callee(self, module: Declaration, files: Mapping[str, BicepFile]) -> Scope | None:
        """The scope of a called file, with the parameters that are known."""
        if module.target.startswith(REGISTRY) or file_of(self.file, module) not in files:
            return None
        scope, given = self.inside(module), {}
        for name, node in module.params.items():
            try:
                given[name] = scope.value_of(node)
            except NotKnown:
                continue
        file = files[file_of(self.file, module)]
        return Scope(file=file, folder=self.folder, given=given, local={})

    def named(self, name: str) -> Value:
        """The value of a local name, a parameter or a variable. Raises NotKnown."""
        for known in (self.local, self.given):
            if name in known:
                return known[name]
        for kind in ("var", "param"):
            declaration = self.file.find(kind, name)
            if declaration is not None and declaration.value is not None:
                return self.value_of(declaration.value)
        raise NotKnown(name)

    def called(self, node: Node) -> Value:
        """The value of a call. Raises NotKnown."""
        name, given = text(node.named_children[0]), arguments(node)
        if name == "loadJsonContent":
            here = (self.folder / self.file.name).parent
            return json.loads((here / (literal(given[0]) or "")).read_text())
        if name == "map":
            parameter, body = given[1].named_children
            return [
                replace(self, local={**self.local, text(parameter): item}).value_of(body)
                for item in self.value_of(given[0])
            ]
        if name not in _FUNCTIONS:
            raise NotKnown(f"{name}()")
        values = [self.value_of(argument) for argument in given]
        try:
            return _FUNCTIONS[name](*values)
        except (TypeError, AttributeError, IndexError):
            raise NotKnown(text(node)) from None


def _string(scope: Scope, node: Node) -> str:
    parts = (
        str(scope.value_of(part.named_children[0]))
        if part.type == "interpolation"
        else string_part(part)
        for part in node.named_children
    )
    return "".join(parts)


def _choice(scope: Scope, node: Node) -> Value:
    condition, yes, no = node.named_children
    return scope.value_of(yes if scope.value_of(condition) else no)


def _part(scope: Scope, node: Node) -> Value:
    owner, name = node.named_children
    found = scope.value_of(owner)
    key = text(name) if node.type == "member_expression" else scope.value_of(name)
    try:
        return found[key]
    except (KeyError, IndexError, TypeError):
        raise NotKnown(text(node)) from None


_READERS: Mapping[str, Callable[[Scope, Node], Value]] = {
    "string": _string,
    "number": lambda _scope, node: int(text(node)),
    "boolean": lambda _scope, node: text(node) == "true",
    "array": lambda scope, node: [scope.value_of(child) for child in node.named_children],
    "object": lambda scope, node: {k: scope.value_of(v) for k, v in properties(node).items()},
    "identifier": lambda scope, node: scope.named(text(node)),
    "ternary_expression": _choice,
    "member_expression": _part,
    "subscript_expression": _part,
    "call_expression": Scope.called,
}


def _union(*values: Value) -> Value:
    if isinstance(values[0], list):
        return list(dict.fromkeys(item for value in values for item in value))
    return {key: item for value in values for key, item in value.items()}


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "concat": lambda *lists: [item for one in lists for item in one],
    "empty": lambda value: not value,
    "environment": lambda: {
        "suffixes": {"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"}
    },
    "guid": lambda *_: _NO_ID,
    "items": lambda value: [{"key": key, "value": item} for key, item in value.items()],
    "last": lambda value: value[-1],
    "replace": lambda value, old, new: value.replace(old, new),
    "split": lambda value, separator: value.split(separator),
    "resourceGroup": lambda: {"id": f"/subscriptions/{_NO_ID}/resourceGroups/group"},
    "subscription": lambda: {"id": f"/subscriptions/{_NO_ID}", "subscriptionId": _NO_ID},
    "take": lambda value, count: value[:count],
    "toLower": lambda value: value.lower(),
    "union": _union,
    "uniqueString": lambda *_: _UNIQUE,
}
