"""Modules: that they are there, and that callers and modules agree on parameters and outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tree_sitter import Node

from tools.check_infra.bicep import BicepFile, Declaration, line_of, text, walk
from tools.check_infra.findings import Finding

REGISTRY = "br/public:"
_OF_MODULES = ("name", "outputs")
_PUBLISHED = Path(__file__).with_name("registry_modules.json")


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What a module takes and gives."""

    required: frozenset[str]
    optional: frozenset[str]
    outputs: frozenset[str]


def published_modules() -> dict[str, Interface]:
    """The modules of the public registry that are used, by path and version.

    Their parameters and outputs are those of the compiled template that was published.
    """
    return {
        name: Interface(**{key: frozenset(value) for key, value in entry.items()})
        for name, entry in json.loads(_PUBLISHED.read_text()).items()
    }


def check_modules(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Calls of modules that would fail."""
    published = published_modules()
    for file in files.values():
        used = _outputs_used(file)
        for module in file.of_kind("module"):
            interface = _interface(file, module, files, published)
            if interface is None:
                yield Finding(file.name, module.line, f"there is no module {module.target}")
                continue
            yield from _parameters(file, module, interface)
            for node in used.get(module.name, ()):
                if text(node) not in interface.outputs:
                    message = f"{module.name} has no output {text(node)}"
                    yield Finding(file.name, line_of(node), message)
            yield from _no_property(file, module)
    yield from _unreached(files)


def file_of(caller: BicepFile, module: Declaration) -> str:
    """The path of a module in the checked folder."""
    parts: list[str] = []
    for part in (PurePosixPath(caller.name).parent / module.target).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def _interface(
    caller: BicepFile,
    module: Declaration,
    files: Mapping[str, BicepFile],
    published: Mapping[str, Interface],
) -> Interface | None:
    if module.target.startswith(REGISTRY):
        return published.get(module.target.removeprefix(REGISTRY))
    callee = files.get(file_of(caller, module))
    if callee is None:
        return None
    parameters = callee.of_kind("param")
    return Interface(
        required=frozenset(p.name for p in parameters if p.is_required),
        optional=frozenset(p.name for p in parameters if not p.is_required),
        outputs=frozenset(output.name for output in callee.of_kind("output")),
    )


def _parameters(file: BicepFile, module: Declaration, interface: Interface) -> Iterator[Finding]:
    given = module.params
    for name in sorted(interface.required - given.keys()):
        yield Finding(file.name, module.line, f"{module.name} needs the parameter {name}")
    for name in sorted(given.keys() - interface.required - interface.optional):
        message = f"{module.name} has no parameter {name}"
        yield Finding(file.name, line_of(given[name]), message)


def _outputs_used(file: BicepFile) -> dict[str, list[Node]]:
    """By module, every `module.outputs.name`, also with `!` or `[index]` behind the module."""
    found: dict[str, list[Node]] = {}
    for node in walk(file.root):
        if node.type == "member_expression":
            outputs, name = node.named_children[0], node.named_children[-1]
            if (
                outputs.type == "member_expression"
                and text(outputs.named_children[-1]) == "outputs"
            ):
                first = outputs
                while first.named_children:
                    first = first.named_children[0]
                found.setdefault(text(first), []).append(name)
    return found


def _no_property(file: BicepFile, module: Declaration) -> Iterator[Finding]:
    """`module.output`, say: a module has a name, and outputs."""
    for node in walk(file.root):
        if node.type == "member_expression":
            owner, name = node.named_children[0], text(node.named_children[-1])
            while owner.type not in ("identifier", "member_expression") and owner.named_children:
                owner = owner.named_children[0]  # `module!`, `module[index]`
            if (owner.type, text(owner)) == ("identifier", module.name) and name not in _OF_MODULES:
                yield Finding(file.name, line_of(node), f"{module.name} has no property {name}")


def _unreached(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    called = {file_of(f, m) for f in files.values() for m in f.of_kind("module")}
    for name in files.keys() - called - {"main.bicep"}:
        yield Finding(name, 1, "no module calls this file")
