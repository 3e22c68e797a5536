"""Files that are read when a template is compiled: that they are there, and have what is used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tree_sitter import Node

from tools.check_infra.bicep import (
    BicepFile,
    arguments,
    is_call,
    line_of,
    literal,
    text,
    walk,
)
from tools.check_infra.findings import Finding
from tools.check_infra.values import NotKnown, Scope


def check_loaded_files(files: Mapping[str, BicepFile], folder: Path) -> Iterator[Finding]:
    """Calls of loadJsonContent and loadTextContent, and every key of what they give."""
    for file in files.values():
        missing = list(_missing(file, folder))
        yield from missing
        if not missing:
            yield from _keys(file, Scope(file=file, folder=folder, given={}, local={}))


def _missing(file: BicepFile, folder: Path) -> Iterator[Finding]:
    for node in walk(file.root):
        if is_call(node, "loadJsonContent", "loadTextContent"):
            name = (literal(arguments(node)[0]) if arguments(node) else None) or ""
            path = (folder / file.name).parent / name
            if not path.is_file():
                yield Finding(file.name, line_of(node), f"there is no file {name}")
            elif is_call(node, "loadJsonContent") and not _is_json(path):
                yield Finding(file.name, line_of(node), f"{name} is no JSON")


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def _keys(file: BicepFile, scope: Scope) -> Iterator[Finding]:
    """What is asked of a loaded document that it does not have."""
    loaded = {d.name for d in file.of_kind("var") if _is_loaded(d.value)}
    for name in loaded:
        yield from _unknown(file, scope, file.root, name)
    for node in walk(file.root):
        if node.type == "for_statement" and text(node.named_children[1]) in loaded:
            item, documents, body = node.named_children
            for document in scope.value_of(documents):
                inside = replace(scope, local={text(item): document})
                yield from _unknown(file, inside, body, text(item))


def _is_loaded(value: Node | None) -> bool:
    return value is not None and is_call(value, "loadJsonContent")


def _unknown(file: BicepFile, scope: Scope, within: Node, name: str) -> Iterator[Finding]:
    for node in walk(within):
        if _is_whole(node) and _root(node) == name:
            try:
                scope.value_of(node)
            except NotKnown:
                message = f"{text(node)} is not in the file that is loaded"
                yield Finding(file.name, line_of(node), message)


def _is_whole(node: Node) -> bool:
    """Whether a node is a path like `roles.iotHub.id`, and not a part of one."""
    parent = node.parent.type if node.parent is not None else ""
    return node.type == "member_expression" and parent != "member_expression"


def _root(node: Node) -> str:
    while node.type == "member_expression":
        node = node.named_children[0]
    return text(node)
