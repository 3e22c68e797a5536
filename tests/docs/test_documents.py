"""The documents tell of everything that a user can meet, and of nothing that is not there."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote

import pytest
from pydantic.alias_generators import to_camel

from firstpull.config.policy import ConnectedRegistryPolicy, Policy
from firstpull.config.settings import Settings
from firstpull.model.device_record import State
from firstpull.model.reasons import MEANING, Reason
from firstpull.observability.log_events import EVENTS, FIELDS
from firstpull.observability.telemetry import METRICS
from tools import docs_tables

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "device_agent/README.md"])
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


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
    """The anchors of a document's headings, as GitHub makes them."""
    headings = _HEADING.findall(without_code(document.read_text()))
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


def routes_of_the_doors() -> Iterator[str]:
    """`METHOD /api/path` of every HTTP function, read from the code without loading the app."""
    prefix = json.loads(text_of("host.json"))["extensions"]["http"]["routePrefix"]
    for module in (ROOT / "functions").glob("*.py"):
        for call in ast.walk(ast.parse(module.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                if call.func.attr != "route":
                    continue
                options = {k.arg: ast.literal_eval(k.value) for k in call.keywords[:1]}
                path = ast.literal_eval(call.args[0])
                yield from (f"{method} /{prefix}/{path}" for method in options["methods"])


_EVENT = re.compile(r"(?:device|door|event|membership|message|schedule|sweep)(?:\.[a-z_]+)+")
_METRIC = re.compile(r"firstpull(?:\.[a-z_]+)+")


def literals(shape: re.Pattern[str], *, but: str) -> set[str]:
    """Every text in the app's code that has a shape, wherever it stands and however it gets on.

    `but` is the module that lists them: what it alone has is used nowhere.
    """
    return {
        node.value
        for folder in ("firstpull", "functions")
        for module in (ROOT / folder).rglob("*.py")
        if module != ROOT / but
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and shape.fullmatch(node.value)
    }


def test_every_reason_is_explained_in_its_own_words() -> None:
    documented = rows("docs/http-api.md", section="## Reasons")
    assert {name: cells[-1] for name, cells in documented.items() if name in set(Reason)} == {
        reason.value: meaning for reason, meaning in MEANING.items()
    }


def test_every_reason_a_device_can_be_stuck_for_says_what_happens() -> None:
    cycle = text_of("docs/onboarding-cycle.md")
    on_its_way = {Reason.ACCEPTED, Reason.CONVERGING, Reason.DELIVERED, Reason.ACKNOWLEDGED}
    missing = {r for r in set(Reason) - on_its_way - {Reason.SUPERSEDED} if f"`{r}`" not in cycle}
    assert not missing


def test_every_state_is_explained() -> None:
    assert rows("docs/architecture.md").keys() >= set(State)


def test_every_setting_is_explained_with_its_default() -> None:
    documented = rows("docs/settings.md")
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias or f"FIRSTPULL_{name.upper()}")
        default = "required" if field.is_required() else f"`{field.default}`"
        if field.default in (None, ()):
            default = "none"
        assert documented[variable][0] == default, variable


@pytest.mark.parametrize("model", [Policy, ConnectedRegistryPolicy])
def test_every_field_of_the_policy_is_explained(
    model: type[Policy | ConnectedRegistryPolicy],
) -> None:
    documented = rows("docs/settings.md", section="## The policy")
    assert documented.keys() >= {to_camel(name) for name in model.model_fields}


def test_the_policy_in_the_documents_is_one() -> None:
    first = next(body for kind, body in _BLOCK.findall(text_of("docs/settings.md")) if kind)
    assert Policy.model_validate_json(first).sites


def test_every_route_is_explained_and_no_other() -> None:
    documented = rows("docs/http-api.md").keys()
    assert {name for name in documented if " /api/" in name} == set(routes_of_the_doors())


def test_every_log_event_is_listed_and_no_other() -> None:
    told = literals(_EVENT, but="firstpull/event_names.py")
    by_state = {f"device.convergence.{state.value.lower()}" for state in State}
    assert EVENTS.keys() == told - by_state | {"device.convergence.<state>"}
    assert {field for event in EVENTS.values() for field in event.fields} == FIELDS.keys()


def test_every_metric_is_listed_and_no_other() -> None:
    assert literals(_METRIC, but="firstpull/event_names.py") == {m.name for m in METRICS}


@pytest.mark.parametrize(
    ("page", "table"),
    [
        ("docs/onboarding-cycle.md", docs_tables.events),
        ("docs/onboarding-cycle.md", docs_tables.event_fields),
        ("docs/observability.md", docs_tables.metrics),
        ("docs/observability.md", docs_tables.metric_attributes),
        ("docs/settings.md", docs_tables.settings),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_table_of_the_code_stands_in_its_page_as_it_is_in_the_code(
    page: str, table: Callable[[], str]
) -> None:
    name = table.__name__
    asked = f"<!-- [[[cog from tools.docs_tables import {name}; cog.out({name}()) ]]] -->\n"
    assert f"{asked}{table()}<!-- [[[end]]] -->" in text_of(page)
    assert page in re.findall(r"docs/[\w-]+\.md", text_of("Makefile"))


def test_the_runbook_leads_to_the_tables_of_the_code() -> None:
    runbook = text_of("docs/runbook.md")
    for link in ("onboarding-cycle.md#log-events", "observability.md#metrics", "settings.md"):
        assert f"]({link})" in runbook


def test_no_setting_is_explained_that_is_none() -> None:
    known = {
        str(f.validation_alias or f"FIRSTPULL_{n.upper()}")
        for n, f in Settings.model_fields.items()
    }
    listed = {n for n in rows("docs/settings.md") if n.startswith("FIRSTPULL_") or n in known}
    assert listed == known
    read = {
        f"{module.relative_to(ROOT)}: {line.strip()}"
        for folder in ("firstpull", "functions")
        for module in (ROOT / folder).rglob("*.py")
        for line in module.read_text().splitlines()
        if re.search(r"os\.(environ|getenv)", line)
    }
    # What is not a setting of firstpull's: the platform's word, and the exporter's own defaults.
    assert read == {
        'functions/asking.py: if os.environ.get("WEBSITE_AUTH_ENABLED", "").lower() == "true":',
        "firstpull/adapters/telemetry.py: os.environ.setdefault(name, value)",
    }


def routes_of_the_management_port() -> Iterator[str]:
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
                    yield f"{route.method} {route.path}"


def test_every_knob_of_the_local_azure_is_listed_and_no_other() -> None:
    documented = rows("docs/local-azure.md", section="## Knobs").keys()
    listed = {name for name in documented if re.match(r"[A-Z]+ /", name)}
    assert listed == {"GET /", *routes_of_the_management_port()}


def test_every_assumption_about_an_error_code_is_listed() -> None:
    documented = text_of("docs/local-azure.md").partition("## Assumptions")[2]
    assumed = [
        re.search(r'code = "(\w+)"', error)
        for module in (ROOT / "local_azure").glob("*/exceptions.py")
        for error in re.split(r"^class ", module.read_text(), flags=re.MULTILINE)
        if "assumption" in error
    ]
    codes = {found[1] for found in assumed if found is not None}
    assert len(codes) > 5
    assert {code for code in codes if f"`{code}`" not in documented} == set()


def test_every_make_target_is_listed_and_every_target_in_the_documents_exists() -> None:
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    listed = {name.removeprefix("make ") for name in rows("CONTRIBUTING.md") if "make " in name}
    assert listed == targets
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"(?:^|`)make ([a-z-]+)\b", document.read_text(), re.MULTILINE)
    }
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = [one or other for one, other in _LINK.findall(without_code(document.read_text()))]
    for link in links:
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_that_shows_a_key_says_how_to_show_a_token_too(document: Path) -> None:
    text = document.read_text()
    if document.name != "quickstart-by-hand.md" and '"x-functions-key: $' in text:
        links = ("http-api.md#calling", "triggers.md#timers")
        assert "Authorization: Bearer $" in text or any(link in text for link in links)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = re.findall(
        r"`((?:firstpull|functions|tests|docs|local_azure)/[\w/.]+)`", document.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_json_example_is_json(document: Path) -> None:
    for kind, body in _BLOCK.findall(document.read_text()):
        if kind == "json":
            json.loads(body)


def test_only_production_code_is_deployed() -> None:
    patterns = [
        line for line in text_of(".funcignore").splitlines() if line and not line.startswith("#")
    ]
    left = {
        path.name
        for path in ROOT.iterdir()
        if not any(fnmatch(path.name, pattern) for pattern in patterns)
    }
    assert left == {"function_app.py", "host.json", "requirements.txt", "functions", "firstpull"}
