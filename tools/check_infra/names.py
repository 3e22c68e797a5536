"""Names: used and not declared, declared twice, declared and not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tree_sitter import Node

from tools.check_infra.bicep import BicepFile, line_of, text, walk
from tools.check_infra.findings import Finding

# Bicep functions (bicep-functions). One that is used for the first time is added here.
FUNCTIONS = {
    *(
        "cidrSubnet",
        "concat",
        "contains",
        "empty",
        "environment",
        "format",
        "guid",
        "items",
        "join",
    ),
    *("json", "last", "length", "loadJsonContent", "loadTextContent", "map", "range", "replace"),
    *("resourceGroup", "resourceId", "split", "string", "subscription"),
    *("subscriptionResourceId", "take", "tenant", "toLower", "toObject", "union", "uniqueString"),
}
# Decorators, likewise.
_DECORATORS = {
    *("allowed", "batchSize", "description", "maxLength", "maxValue", "metadata", "minLength"),
    *("minValue", "secure"),
}
_TYPES = ("type", "primitive_type", "array_type", "nullable_type")


def check_names(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Names that a compiler would refuse or warn of."""
    for file in files.values():
        yield from _words_of_the_language(file)
        declared = [d for d in file.declarations if d.kind != "output"]
        for name, count in Counter(d.name for d in declared).items():
            if count > 1:
                yield Finding(file.name, 1, f"{name} is declared {count} times")
        names = {d.name for d in declared}
        used = list(_uses(file.root, frozenset()))
        for node in used:
            is_function = _is_called(node)
            if text(node) not in (names | FUNCTIONS if is_function else names):
                what = "function" if is_function else "name"
                yield Finding(file.name, line_of(node), f"{text(node)} is no {what} that is known")
        uses = {text(node) for node in used}
        for declaration in declared:
            counts = declaration.kind in ("param", "var") or declaration.is_existing
            if counts and declaration.name not in uses:
                yield Finding(file.name, declaration.line, f"{declaration.name} is never used")


def _words_of_the_language(file: BicepFile) -> Iterator[Finding]:
    """Types and decorators that there are not. None is declared here."""
    for node in walk(file.root):
        first = node.named_children[0] if node.named_children else None
        if node.type == "type" and first is not None and first.type == "identifier":
            yield Finding(file.name, line_of(node), f"{text(node)} is no type that is known")
        if node.type == "decorator" and first is not None:
            name = text(first).partition("(")[0]
            if name not in _DECORATORS:
                yield Finding(file.name, line_of(node), f"{name} is no decorator that is known")


def _is_called(node: Node) -> bool:
    parent, after = node.parent, node.next_named_sibling
    if parent is not None and parent.type == "array" and after is not None:
        # The grammar takes a call in an array for two items: `[subscription().id]`.
        return after.start_byte == node.end_byte
    return (
        parent is not None
        and parent.type == "call_expression"
        and parent.child_by_field_name("function") == node
    )


def _uses(node: Node, local: frozenset[str]) -> Iterator[Node]:
    """The identifiers in a node that mean something declared outside it."""
    if node.type == "identifier":
        if text(node) not in local:
            yield node
        return
    introduced, outside, inside = _parts(node)
    for child in outside:
        yield from _uses(child, local)
    inner = local | {text(leaf) for part in introduced for leaf in walk(part)}
    for child in inside:
        yield from _uses(child, inner)


def _parts(node: Node) -> tuple[Sequence[Node], Sequence[Node], Sequence[Node]]:
    """What introduces names, what is outside their reach, and what is within."""
    children = [child for child in node.named_children if child.type not in _TYPES]
    match node.type:
        case "lambda_expression":
            return children[:-1], (), children[-1:]
        case "for_statement":
            return children[:1], children[1:-1], children[-1:]
        case "decorator":
            return (), node.named_children[0].named_children[1:], ()
        case "object_property" if children[0].type == "identifier":
            return (), children[1:], ()
        case kind if kind.endswith("_declaration"):
            return (), children[1:], ()
        case _:
            return (), children, ()
