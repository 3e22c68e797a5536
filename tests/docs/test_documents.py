"""The documents explain everything that a user can meet, and nothing that does not exist."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from pydantic.alias_generators import to_camel

from firstpull.adapters import telemetry
from firstpull.config.policy import ConnectedRegistryPolicy, Policy
from firstpull.config.settings import Settings
from firstpull.model.device_record import State
from firstpull.model.reasons import MEANING, Reason
from functions import openapi
from tools import docs_tables

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("cli/README.md"),
        *ROOT.glob("device_agent/README.md"),
        *ROOT.glob("local_azure/README.md"),
    ]
)
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def rows(name: str, *, section: str = "") -> dict[str, list[str]]:
    """The rows of a document's tables, below a heading, by the code in their first cell."""
    text = text_of(name).partition(section)[2] if section else text_of(name)
    cells = (line.strip(" |").split(" | ") for line in text.splitlines() if line.startswith("|"))
    return {
        code: rest for first, *rest in cells for code in re.findall(r"`([^`]+)`", first) if rest
    }


def without_code(text: str) -> str:
    return _BLOCK.sub("", text)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub derives them."""
    headings = _HEADING.findall(without_code(document.read_text()))
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


def test_every_reason_is_explained_with_its_meaning() -> None:
    documented = rows("docs/http-api.md", section="## Reasons")
    assert {name: cells[-1] for name, cells in documented.items() if name in set(Reason)} == {
        reason.value: meaning for reason, meaning in MEANING.items()
    }


def test_the_runbook_has_an_action_for_every_reason_or_says_that_there_is_none() -> None:
    section = text_of("docs/runbook.md").partition("\n## Reasons\n")[2]
    sentence = re.search(r"^No action for (.*?);", section, re.MULTILINE | re.DOTALL)
    assert sentence is not None
    with_an_action = rows("docs/runbook.md", section="\n## Reasons\n")
    assert sorted([*with_an_action, *re.findall(r"`(\w+)`", sentence[1])]) == sorted(Reason)


def test_every_state_is_explained() -> None:
    assert rows("docs/architecture.md").keys() >= set(State)


def test_every_setting_is_explained_and_no_other() -> None:
    known = {
        str(field.validation_alias or f"FIRSTPULL_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
    listed = rows("docs/settings.md")
    assert {name for name in listed if name.startswith("FIRSTPULL_") or name in known} == known


def test_every_default_of_the_exporter_is_explained_and_no_other() -> None:
    documented = rows("docs/observability.md", section="of the same name wins.")
    listed = {name: cells[0].strip("`") for name, cells in documented.items() if name.isupper()}
    assert listed == telemetry._DEFAULTS


def test_every_table_that_the_code_generates_is_in_a_page_that_make_checks() -> None:
    pages = re.search(r"^PAGES := (.*)$", text_of("Makefile"), re.MULTILINE)
    assert pages is not None
    text = "".join(map(text_of, pages[1].split()))
    tables = (docs_tables.events, docs_tables.metrics, docs_tables.metric_attributes)
    for table in (*tables, docs_tables.settings, docs_tables.contract):
        assert f"cog.out({table.__name__}())" in text


@pytest.mark.parametrize("model", [Policy, ConnectedRegistryPolicy])
def test_every_field_of_the_policy_is_explained(
    model: type[Policy | ConnectedRegistryPolicy],
) -> None:
    documented = rows("docs/settings.md", section="## The policy")
    assert documented.keys() >= {to_camel(name) for name in model.model_fields}


def test_the_policy_in_the_documents_is_valid() -> None:
    first = next(body for kind, body in _BLOCK.findall(text_of("docs/settings.md")) if kind)
    assert Policy.model_validate_json(first).sites


def test_every_route_is_explained_and_no_other() -> None:
    described = openapi.document()
    (server,) = described["servers"]
    routes = {
        f"{method.upper()} {server['url']}{path}"
        for path, operations in described["paths"].items()
        for method in operations
    }
    assert {name for name in rows("docs/http-api.md") if " /api/" in name} == routes


def routes_of_the_management_port() -> Iterator[tuple[str, object]]:
    """The kernel's routes, and those of each service that has knobs."""
    services = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "local_azure").glob("*/management_routes.py")
    ]
    assert services
    for module in ("local_azure.management.routes", *services):
        for kind in vars(importlib.import_module(module)).values():
            if inspect.isclass(kind) and kind.__module__ == module and hasattr(kind, "table"):
                for route in kind.table(kind.__new__(kind)):
                    yield f"{route.method} {route.path}", route.handler


def test_the_management_port_says_of_every_route_what_it_does() -> None:
    undescribed = [name for name, handler in routes_of_the_management_port() if not handler.__doc__]
    assert not undescribed


def test_every_make_target_is_explained_and_no_other_is_named() -> None:
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert explained == targets
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"(?:^|`)make ([a-z-]+)\b", document.read_text(), re.MULTILINE)
    }
    assert named <= targets


@each_document
def test_every_link_resolves(document: Path) -> None:
    links = [one or other for one, other in _LINK.findall(without_code(document.read_text()))]
    for link in links:
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@each_document
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    named = re.findall(
        r"`((?:firstpull|functions|tests|docs|local_azure)/[\w/.]+)`", document.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@each_document
def test_every_json_example_is_json(document: Path) -> None:
    for kind, body in _BLOCK.findall(document.read_text()):
        if kind == "json":
            json.loads(body)
