"""Bicep files, as tree-sitter sees them: declarations, and the few questions that checks ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_bicep.language()))
_KINDS = {
    "parameter_declaration": "param",
    "variable_declaration": "var",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
}


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One declaration. `target` is a resource's type without its `version`, or a module's path."""

    kind: str
    name: str
    line: int
    node: Node
    decorators: tuple[Node, ...]
    target: str = ""
    version: str = ""
    is_existing: bool = False

    @property
    def value(self) -> Node | None:
        """The default, value or body; of a loop the loop itself."""
        last = self.node.named_children[-1]
        return None if last.type in ("type", "nullable_type") else last

    @property
    def body(self) -> Mapping[str, Node]:
        """The properties of a resource or module, whether in a loop or under a condition."""
        return properties(innermost(self.node.named_children[-1]))

    @property
    def params(self) -> Mapping[str, Node]:
        """What a module is given."""
        body = self.body
        return properties(body["params"]) if "params" in body else {}

    @property
    def is_required(self) -> bool:
        """Of a parameter: whether a caller must give it."""
        kinds = {node.type for node in self.node.named_children[1:]}
        return self.value is None and "nullable_type" not in kinds


@dataclass(frozen=True, kw_only=True)
class BicepFile:
    """A file with its declarations, nested resources included."""

    name: str
    root: Node
    declarations: tuple[Declaration, ...]

    def of_kind(self, *kinds: str) -> tuple[Declaration, ...]:
        """The declarations of these kinds, in the file's order."""
        return tuple(d for d in self.declarations if d.kind in kinds)

    def find(self, kind: str, name: str) -> Declaration | None:
        """A declaration by its kind and name."""
        return next((d for d in self.of_kind(kind) if d.name == name), None)


def read_folder(folder: Path) -> dict[str, BicepFile]:
    """All Bicep files of a folder, by their paths in it."""
    paths = sorted(folder.rglob("*.bicep"))
    return {
        name: read_file(name, path.read_bytes())
        for path, name in ((path, path.relative_to(folder).as_posix()) for path in paths)
    }


def read_file(name: str, source: bytes) -> BicepFile:
    """A file from its text; one that is not Bicep has error nodes."""
    root = _PARSER.parse(source).root_node
    return BicepFile(name=name, root=root, declarations=tuple(_declarations(root)))


def _declarations(parent: Node) -> Iterator[Declaration]:
    decorators: tuple[Node, ...] = ()
    for node in parent.named_children:
        if node.type == "decorators":
            decorators = tuple(node.named_children)
            continue
        if node.type in _KINDS:
            yield _declaration(node, decorators)
        decorators = ()
        for inner in walk(node):
            if inner.type == "resource_declaration" and inner != node:
                yield _declaration(inner, ())


def _declaration(node: Node, decorators: tuple[Node, ...]) -> Declaration:
    kind = _KINDS[node.type]
    name, target, version = node.named_children[0], "", ""
    if kind in ("resource", "module"):
        target = literal(node.named_children[1]) or ""
    if kind == "resource":
        target, _, version = target.partition("@")
    return Declaration(
        kind=kind,
        name=text(name),
        line=line_of(node),
        node=node,
        decorators=decorators,
        target=target,
        version=version,
        is_existing=any(child.type == "existing" for child in node.children),
    )


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it, in the order of the source."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.named_children))


def text(node: Node) -> str:
    """The source of a node."""
    return (node.text or b"").decode()


def line_of(node: Node) -> int:
    """The line of a node, from 1."""
    return node.start_point.row + 1


def literal(node: Node) -> str | None:
    """The value of a string without interpolations; None for anything else."""
    if node.type != "string" or any(c.type == "interpolation" for c in node.named_children):
        return None
    return "".join(string_part(child) for child in node.named_children)


def string_part(node: Node) -> str:
    """A piece of a string between its interpolations."""
    return text(node).removeprefix("\\") if node.type == "escape_sequence" else text(node)


def innermost(node: Node) -> Node:
    """What a loop or a condition is about."""
    while node.type in ("for_statement", "if_statement"):
        node = node.named_children[-1]
    return node


def properties(node: Node) -> dict[str, Node]:
    """The values of an object by their keys; nothing where it is no object."""
    if node.type != "object":
        return {}
    pairs = [child.named_children for child in node.named_children if len(child.named_children) > 1]
    return {literal(key) or text(key): value for key, value in pairs}


def is_call(node: Node, *names: str) -> bool:
    """Whether a node calls one of these functions."""
    function = node.child_by_field_name("function")
    return function is not None and text(function) in names


def arguments(node: Node) -> list[Node]:
    """The arguments of a call."""
    found = node.child_by_field_name("arguments")
    return found.named_children if found is not None else []
