"""Markdown tables of the docs, made of the code. `make docs` writes them into the pages.

A page asks for a table in a comment, which cog reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydantic.fields import FieldInfo

from contract.answers import Basis, Service, services
from firstpull.config.settings import Settings, StorageSettings
from firstpull.fleet.doctor import FindingName
from firstpull.model.device_record import State
from firstpull.observability.log_events import LogEvent
from firstpull.observability.telemetry import METRICS

_STATE = re.compile(rf"(?<=^device\.reconcile\.)(?:{'|'.join(State)})$", re.IGNORECASE)

_MORE = {
    "FIRSTPULL_POLICY": "[The policy](#the-policy).",
    "FIRSTPULL_SWEEP_REVOKES_PERCENT": (
        "[The sweep](device-lifetime.md#the-sweep), [its approval](http-api.md#the-sweep)."
    ),
    "FIRSTPULL_FLEET_PAGE": "[The fleet page](fleet-page.md).",
    "FIRSTPULL_WEBHOOK_KEYS": "[Signed webhooks](triggers.md#signed-webhooks).",
    "FIRSTPULL_ARM_ENDPOINT": "[Other clouds](#other-clouds).",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "[Observability](observability.md).",
    "AZURE_CLIENT_ID": "[Roles](#roles).",
}
"""Links to more about a setting. They are here because the code does not refer to the docs."""


def events() -> str:
    """The log events: when each is logged, and its fields; `device` means the device's two."""
    rows = {
        _STATE.sub("<state>", event.value): (event.when, _codes(_with_device(event.fields)))
        for event in LogEvent
    }
    named = ((_code(name), when, fields) for name, (when, fields) in rows.items())
    return table(("Event", "When", "Fields"), named)


def metrics() -> str:
    """The metrics with their units and attributes."""
    rows = (
        (_code(m.name), m.unit or "count", _codes(m.attributes) or "none", m.description)
        for m in METRICS
    )
    return table(("Metric", "Unit", "Attributes", "Meaning"), rows)


def metric_attributes() -> str:
    """The attributes of metrics, and what each holds."""
    holds = {name: str(words) for metric in METRICS for name, words in metric.attributes.items()}
    return table(("Attribute", "Holds"), ((_code(name), words) for name, words in holds.items()))


def settings() -> str:
    """The settings with their defaults: required ones first, those of storage last."""
    rows = [_setting(name, field) for name, field in Settings.model_fields.items()]
    last = {_variable(name, field) for name, field in StorageSettings.model_fields.items()}
    rows.sort(key=lambda row: (row[0].strip("`") in last, row[1] != "required"))
    return table(("Variable", "Default", "Meaning"), rows)


def findings() -> str:
    """The findings of the doctor: how bad each is, and why it matters."""
    rows = ((_code(name), name.severity, name.why) for name in FindingName)
    return table(("Finding", "", "Why it matters"), rows)


def contract() -> str:
    """What the local Azure's answers rest on: how many are known, and all assumptions."""

    def held(service: Service, basis: Basis) -> str:
        return str(sum(each.basis is basis and not each.not_local for each in service.answers))

    rows = (
        (
            service.title,
            held(service, Basis.RECORDED),
            held(service, Basis.DOCUMENTED),
            "<br>".join(each.says for each in service.answers if each.basis is Basis.ASSUMED),
        )
        for service in services()
    )
    return table(("Service", "Recorded", "Documented", "Assumed"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table between empty lines, which end the comments around it."""
    lines = [_row(head), f"|{'---|' * len(head)}"]
    for row in rows:
        if len(row) != len(head) or any("|" in cell or "\n" in cell for cell in row):
            raise ValueError(f"not a row of this table: {row}")
        lines.append(_row(row))
    return "\n".join(("", *lines, "", ""))


def _with_device(fields: Sequence[str]) -> Sequence[str]:
    return ("device", *fields[2:]) if tuple(fields[:2]) == ("hub", "device_id") else fields


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _setting(name: str, field: FieldInfo) -> tuple[str, str, str]:
    variable = _variable(name, field)
    default = "required" if field.is_required() else _code(str(field.default))
    if field.default in (None, ()):
        default = "none"
    words = " ".join((field.description or "").split())
    return _code(variable), default, " ".join((words, *filter(None, [_MORE.get(variable)])))


def _variable(name: str, field: FieldInfo) -> str:
    return str(field.validation_alias or f"FIRSTPULL_{name.upper()}")


def _code(name: str) -> str:
    return f"`{name}`"


def _codes(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names))
