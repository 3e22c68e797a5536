"""Renders the device agent's chart with Helm's own library (`make helm`), and lints it.

It runs in an environment of its own: the library is 75 MB, and only this needs it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from helm_python.chart import Chart, lint

CHART = "device_agent/charts/firstpull-agent"


def main() -> int:
    """Render with the values in standard input: `{"values", "name", "namespace"}`."""
    asked: dict[str, Any] = json.load(sys.stdin)
    found = lint(CHART, asked["values"], strict=True)
    if found["errors"]:
        sys.stderr.write(json.dumps(found, indent=2))
        return 1
    chart = Chart.load(CHART)
    chart.validate_schema(asked["values"])
    rendered = chart.render(asked["values"], name=asked["name"], namespace=asked["namespace"])
    manifests = {name: text for name, text in rendered.items() if name.endswith(".yaml")}
    json.dump(manifests, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
