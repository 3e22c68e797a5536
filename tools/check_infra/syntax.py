"""Syntax: what tree-sitter cannot read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tree_sitter import Node

from tools.check_infra.bicep import BicepFile, line_of
from tools.check_infra.findings import Finding


def check_syntax(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Every place where a file is not Bicep."""
    for file in files.values():
        if file.root.has_error:
            for node in _errors(file.root):
                what = f"{node.type!r} is missing" if node.is_missing else "this is not Bicep"
                yield Finding(file.name, line_of(node), what)


def _errors(node: Node) -> Iterator[Node]:
    if node.is_error or node.is_missing:
        yield node
        return
    for child in node.children:
        yield from _errors(child)
