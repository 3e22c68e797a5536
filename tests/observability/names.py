"""The names in the code, read from it without running it."""

from __future__ import annotations

import ast
from pathlib import Path

from firstpull import telemetry

_MAKERS = {"Gauge", "create_histogram"}


def metrics() -> dict[str, str]:
    """The unit of each metric, by its name."""
    tree = ast.parse(Path(telemetry.__file__).read_text())
    found = {}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            maker = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if maker in _MAKERS:
                options = {option.arg: ast.literal_eval(option.value) for option in call.keywords}
                found[str(ast.literal_eval(call.args[0]))] = options.get("unit", "")
    return found


def names_of_metrics() -> set[str]:
    """Every metric's name."""
    return set(metrics())
