"""Bicep files as tree-sitter parses them: their declarations, and what the checks ask of a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_bicep.language()))
_DECLARATION = "_declaration"


class Finding(NamedTuple):
    """A mistake at a line of a file. `file` is relative to the checked folder."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Declaration:
    """A declaration: of a parameter, variable, resource, module or output."""

    kind: str
    name: str
    node: Node

    @property
    def line(self) -> int:
        """The line on which it begins."""
        return line_of(self.node)

    @property
    def value(self) -> Node | None:
        """A parameter's default, a variable's value, or a body with the loop around it."""
        last = self.node.named_children[-1]
        return None if last.type in ("type", "nullable_type") else last

    @property
    def body(self) -> Mapping[str, Node]:
        """The properties of a resource or module, also within a loop or a condition."""
        node = self.node.named_children[-1]
        while node.type in ("for_statement", "if_statement"):
            node = node.named_children[-1]
        return properties(node)

    @property
    def params(self) -> Mapping[str, Node]:
        """The parameters that a module is given."""
        body = self.body
        return properties(body["params"]) if "params" in body else {}


@dataclass(frozen=True)
class BicepFile:
    """A file with its top-level declarations. `name` is its path in the checked folder."""

    name: str
    root: Node
    declarations: tuple[Declaration, ...]

    def find(self, kind: str, name: str) -> Declaration | None:
        """The declaration of a kind and name."""
        return next((d for d in self.declarations if (d.kind, d.name) == (kind, name)), None)

    def nodes(self, variable: str) -> Iterator[Node]:
        """The nodes of a variable's value, and of the variables that the value refers to."""
        declaration = self.find("variable", variable)
        for node in walk(declaration.value) if declaration and declaration.value else ():
            yield node
            if node.type == "identifier":
                yield from self.nodes(text(node))


def read_folder(folder: Path) -> dict[str, BicepFile]:
    """All Bicep files of a folder, by their paths in it."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.bicep"))}
    roots = {name: _PARSER.parse(path.read_bytes()).root_node for name, path in paths.items()}
    return {name: BicepFile(name, root, tuple(_declarations(root))) for name, root in roots.items()}


def _declarations(root: Node) -> Iterator[Declaration]:
    for node in root.named_children:
        if node.type.endswith(_DECLARATION) and not node.has_error:
            kind = node.type.removesuffix(_DECLARATION)
            yield Declaration(kind, text(node.named_children[0]), node)


def syntax_errors(file: BicepFile) -> Iterator[Finding]:
    """Every place that the parser cannot read."""
    for node in walk(file.root):
        if node.is_error or node.is_missing:
            yield Finding(file.name, line_of(node), "this is not Bicep")


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it, in the order of the source."""
    yield node
    for child in node.children:
        yield from walk(child)


def text(node: Node) -> str:
    """The source of a node, on one line."""
    return " ".join((node.text or b"").decode().split())


def line_of(node: Node) -> int:
    """The line of a node, from 1."""
    return node.start_point.row + 1


def literal(node: Node) -> str | None:
    """The value of a string without interpolations; None for anything else."""
    if node.type != "string" or any(c.type == "interpolation" for c in node.named_children):
        return None
    return text(node)[1:-1].replace("\\", "")


def properties(node: Node) -> dict[str, Node]:
    """The values of an object, or the types of a type, by their keys; empty for anything else."""
    if node.type != "object":
        return {}
    found = (child for child in node.named_children if child.type == "object_property")
    pairs = [child.named_children for child in found if len(child.named_children) > 1]
    return {literal(key) or text(key): value for key, value in pairs}


def arguments(node: Node, function: str) -> list[Node]:
    """The arguments of a call of a function; empty for anything else."""
    called, given = (node.child_by_field_name(field) for field in ("function", "arguments"))
    is_called = called is not None and text(called) == function
    return given.named_children if is_called and given is not None else []
