"""Secrets: none in outputs, settings or parameters, and none read out of a resource."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tree_sitter import Node

from tools.check_infra.bicep import BicepFile, line_of, literal, text, walk
from tools.check_infra.findings import Finding

_LISTS = re.compile(r"^list[A-Z]?\w*$|^getSecret$")
_PROPERTIES = re.compile(
    r"^(primary|secondary)(Shared|Access|Master)?Key$|ConnectionString$|^connectionString$|"
    r"^instrumentationKey$|^adminPassword$|^exportedSecrets$"
)
_IN_TEXT = re.compile(
    r"AccountKey=|SharedAccessKey=|SharedAccessSignature|[?&]sig=|Password=|whsec_\w", re.IGNORECASE
)
_OUTPUT = re.compile(r"password|secret|connection_?string|sas$|token$|keys?$", re.IGNORECASE)
_PARTS_OF = ("member_expression", "subscript_expression")
# With local authentication off, what is called a connection string is an address and no key.
_HARMLESS = {"applicationInsights.outputs.connectionString"}


def check_secrets(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Every way by which a secret could leave the place that it belongs to."""
    for file in files.values():
        for node in walk(file.root):
            found = _told_by(node)
            if found is not None:
                yield Finding(file.name, line_of(node), found)
        for parameter in file.of_kind("param"):
            if any(text(d).startswith("@secure") for d in parameter.decorators):
                message = f"{parameter.name} is a secret: keep it in the vault and name it here"
                yield Finding(file.name, parameter.line, message)
        for output in file.of_kind("output"):
            if _OUTPUT.search(output.name):
                yield Finding(file.name, output.line, f"the output {output.name} tells a secret")


def _told_by(node: Node) -> str | None:
    if node.type == "call_expression":
        function = text(node.named_children[0]).rpartition(".")[2]
        if _LISTS.match(function):
            return f"{function}() reads keys"
    if node.type == "member_expression":
        name = text(node.named_children[-1])
        if _PROPERTIES.search(name) and text(node) not in _HARMLESS:
            return f"{text(node)} is a secret"
        if name == "outputs" and (node.parent is None or node.parent.type not in _PARTS_OF):
            return f"{text(node)} is all outputs, the secret ones too"
    if node.type == "subscript_expression" and _PROPERTIES.search(_key(node)):
        return f"{text(node)} is a secret"
    if node.type == "string" and _IN_TEXT.search(text(node)):
        return "this text is a connection string or a key"
    return None


def _key(subscript: Node) -> str:
    return literal(subscript.named_children[-1]) or ""
