"""What a file would change: device by device and connected registry by connected registry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from firstpull_cli import output, rooms
from firstpull_cli.api import PAGE, Api, Document
from firstpull_cli.onboarding import Outcome, batches
from firstpull_cli.rows import Row

_DEFAULT_ACTIONS = ["content/read"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A device that is new (`before` is None) or gets other access.

    `place` is the connected registry that it would have, as `container registry/name`; without
    one `finding` says why it would wait.
    """

    device_id: str
    before: Document | None
    document: Document
    place: str | None
    finding: str | None

    @property
    def place_before(self) -> str | None:
        """Where the device is a client now."""
        return _place_of(self.before)

    def as_json(self) -> Document:
        """For a script."""
        values = {
            "action": "add" if self.before is None else "change",
            "deviceId": self.device_id,
            "from": self.place_before,
            "to": self.place,
            "finding": self.finding,
            "differences": list(_differences(self)) or None,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(kw_only=True)
class Place:
    """A connected registry while rows take its room."""

    used: int
    capacity: int
    free: int
    joins: int = 0
    changes: int = 0
    leaves: int = 0


@dataclass(kw_only=True)
class Plan:
    """What a file would do."""

    changes: list[Change] = field(default_factory=list)
    refused: list[Outcome] = field(default_factory=list)
    unchanged: int = 0
    places: dict[str, Place] = field(default_factory=dict)


def make_plan(api: Api, rows: Sequence[Row]) -> Plan:
    """Plan all rows with the service's dry run, and write nothing. Raises CliError.

    The service knows the room as it is now; what earlier batches would take is kept here.
    """
    sites = api.get("sites")
    plan = Plan()
    for room in rooms.all_rooms(sites):
        plan.places[rooms.name_of(room)] = Place(
            used=room["used"], capacity=room["capacity"], free=room["free"]
        )
    present = {(device["hub"], device["deviceId"]): device for device in api.devices({})}
    plan.refused += [Outcome.of_problem(row) for row in rows if row.problem is not None]
    good = [row for row in rows if row.problem is None]
    for batch in batches(good, at_once=PAGE):
        body = {"devices": [row.document for row in batch]}
        answer = api.send("POST", "devices:batch", body=body, query={"dryRun": "true"}).document
        for planned in answer["rows"]:
            row = batch[planned["row"]]
            if planned["status"] >= 400:
                plan.refused.append(Outcome.of_answer(row, planned))
                continue
            before = present.get((planned["hub"], planned["deviceId"]))
            _add(plan, row, planned, before=before, sites=sites)
    plan.refused.sort(key=lambda found: found.line)
    return plan


def _add(
    plan: Plan, row: Row, planned: Document, *, before: Document | None, sites: Document
) -> None:
    is_same = before is not None and before["generation"] == planned["generation"]
    place_before = _place_of(before)
    place, finding = planned.get("connectedRegistry"), planned.get("finding")
    if place is not None and place != place_before:
        candidates = _candidates(row.document, sites)
        place = next((name for name in candidates if plan.places[name].free > 0), None)
        if place is None:
            finding = "SiteFull" if "site" in row.document else "ConnectedRegistryFull"
        else:
            plan.places[place].free -= 1
    if is_same:
        plan.unchanged += 1
        return
    if place == place_before and place in plan.places:
        plan.places[place].changes += 1
    else:
        if place is not None:
            plan.places[place].joins += 1
        if place_before in plan.places:
            plan.places[place_before].leaves += 1
    plan.changes.append(
        Change(
            device_id=planned["deviceId"],
            before=before,
            document=row.document,
            place=place,
            finding=finding,
        )
    )


def _candidates(document: Document, sites: Document) -> list[str]:
    """The connected registries that a request may mean, in the order of filling."""
    if "site" in document:
        wanted = str(document["site"]).casefold()
        listed = (
            s["connectedRegistries"] for s in sites["sites"] if s["name"].casefold() == wanted
        )
        found = [room for of_site in listed for room in of_site]
    else:
        wanted = str(document.get("connectedRegistry")).casefold()
        every = rooms.all_rooms(sites)
        found = [room for room in every if room["connectedRegistry"].casefold() == wanted]
    registry = document.get("containerRegistry")
    names = [
        rooms.name_of(room)
        for room in found
        if registry is None or room["containerRegistry"].casefold() == str(registry).casefold()
    ]
    return list(dict.fromkeys(names))


def _place_of(device: Document | None) -> str | None:
    if device is None or "connectedRegistry" not in device:
        return None
    return rooms.name_of(device)


def _differences(change: Change) -> Iterator[str]:
    """What differs from the last request, field by field."""
    if change.before is None:
        return
    before, after = change.before["wants"], change.document
    site = after.get("site")
    target = f"site {site}" if site else after.get("connectedRegistry")
    if f"{target}".casefold() != before["target"].casefold():
        yield f"target: {before['target']} → {target}"
    for name, default in (("repositories", []), ("actions", _DEFAULT_ACTIONS)):
        old, new = set(before[name]), set(after.get(name, default))
        yield from (f"{name}: + {added}" for added in sorted(new - old))
        yield from (f"{name}: - {removed}" for removed in sorted(old - new))
    delivery = after.get("delivery", before.get("delivery"))
    if before.get("delivery") != delivery:
        yield f"delivery: {before.get('delivery')} → {delivery}"
    if _key(before) != _key(after):
        yield f"sealing key: {_key(before)} → {_key(after)}"
    if before.get("adopt") != after.get("adopt"):
        yield f"adopt: {before.get('adopt')} → {after.get('adopt')}"


def _key(wants: Document) -> str:
    """A device's public key, short for a person; what describes it only does not count."""
    key = wants.get("sealingKey")
    if not isinstance(key, dict):
        return "none"
    return f"{key.get('kty')} {str(key.get('x', key.get('n')))[:12]}…"


def as_json(plan: Plan) -> Document:
    """The plan for a script. `room` has the connected registries that would change."""
    return {
        "changes": [change.as_json() for change in plan.changes],
        "unchanged": plan.unchanged,
        "refused": [found.as_json() for found in plan.refused],
        "room": [
            {
                "connectedRegistry": name,
                "joins": place.joins,
                "changes": place.changes,
                "leaves": place.leaves,
                "used": place.used,
                "usedAfter": place.used + place.joins,
                "capacity": place.capacity,
                "freeAfter": place.free,
            }
            for name, place in _touched(plan)
        ],
    }


def show(plan: Plan) -> None:
    """Write the plan for a person."""
    console = output.console()
    for change in plan.changes:
        console.print(_headline(change))
        for difference in _differences(change):
            console.print(Text(f"      {output.clean(difference)}"))
    if touched := _touched(plan):
        console.print()
        table = output.table(
            *("CONNECTED REGISTRY", "+", "~", "-", "USED", "", "FREE"),
            right=("+", "~", "-", "FREE"),
        )
        for name, place in touched:
            table.add_row(
                output.cell(name),
                output.cell(place.joins or None, "green"),
                output.cell(place.changes or None, "yellow"),
                output.cell(place.leaves or None, "red"),
                output.cell(f"{place.used} → {place.used + place.joins} of {place.capacity}"),
                output.bar([(place.used, "blue"), (place.joins, "green")], whole=place.capacity),
                output.cell(place.free, "" if place.free else "bold red"),
            )
        console.print(table)
    for found in plan.refused:
        line = (
            f"  refused: line {found.line}, {found.device_id or '?'}: {found.reason}: {found.why}"
        )
        console.print(Text(output.clean(line), style="red"))
    console.print()
    console.print(Text(_summary(plan), style="bold"))


def _headline(change: Change) -> Text:
    sign, style = ("+", "green") if change.before is None else ("~", "yellow")
    line = Text.assemble((f"  {sign} {output.clean(change.device_id)}", style), "  ")
    place, before = change.place, change.place_before
    if before is not None and place != before:
        line.append(f"- {before} ", style="red")
    if place is not None:
        line.append(
            f"+ {place}" if place != before else place, style="" if place == before else "green"
        )
    if change.finding is not None:
        line.append(f"will wait: {change.finding}", style="bold red")
    if change.before is None:
        repositories: Any = change.document.get("repositories", ())
        line.append(f"  {output.clean(', '.join(map(str, repositories)))}", style="dim")
    return line


def _summary(plan: Plan) -> str:
    if not plan.changes and not plan.refused:
        return f"No changes. All {plan.unchanged} devices are asked for as the file has them."
    added = sum(change.before is None for change in plan.changes)
    waits = sum(change.place is None for change in plan.changes)
    counts = [f"{added} to add", f"{len(plan.changes) - added} to change"]
    counts += [f"{plan.unchanged} unchanged", f"{len(plan.refused)} refused"]
    return f"Plan: {', '.join(counts)}." + (f" {waits} will wait for room." if waits else "")


def _touched(plan: Plan) -> list[tuple[str, Place]]:
    return [
        (name, place)
        for name, place in plan.places.items()
        if place.joins or place.changes or place.leaves
    ]
