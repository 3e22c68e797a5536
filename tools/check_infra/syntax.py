"""Syntax: what tree-sitter cannot read, and some of what it reads and Bicep does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise

from tree_sitter import Node

from tools.check_infra.bicep import BicepFile, line_of, text, walk
from tools.check_infra.findings import Finding


def check_syntax(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Every place where a file is not Bicep."""
    for file in files.values():
        if file.root.has_error:
            for node in _errors(file.root):
                what = f"{node.type!r} is missing" if node.is_missing else "this is not Bicep"
                yield Finding(file.name, line_of(node), what)
        yield from _objects(file)
        yield from _versions(file)


def _objects(file: BicepFile) -> Iterator[Finding]:
    """A key twice; two pairs on a line without a comma."""
    for node in walk(file.root):
        pairs = [c for c in node.named_children if c.type == "object_property"]
        keys = Counter(text(pair.named_children[0]) for pair in pairs if pair.named_children)
        for key, count in keys.items():
            if count > 1:
                yield Finding(file.name, line_of(node), f"{key} is there {count} times")
        for pair, after in pairwise(pairs):
            if pair.end_point.row == after.start_point.row and pair.next_sibling == after:
                yield Finding(file.name, line_of(after), "a pair ends with its line")


def _versions(file: BicepFile) -> Iterator[Finding]:
    """A resource's type has a version, unless a resource around it has."""
    for resource in file.of_kind("resource"):
        if "/" in resource.target and not resource.version:
            yield Finding(file.name, resource.line, f"{resource.name} has no API version")


def _errors(node: Node) -> Iterator[Node]:
    if node.is_error or node.is_missing:
        yield node
        return
    for child in node.children:
        yield from _errors(child)
