"""The log events: their names, when each is told, and what its fields hold.

Places that tell of one write its name out, so that a search finds them. A name is never reused.
The list of events in docs/onboarding-cycle.md is made of this.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """When an event is told, and the names of its fields."""

    when: str
    fields: tuple[str, ...]


FIELDS = {
    "address": "where the device reaches the connected registry",
    "at": "the innermost functions, each with its line, innermost first",
    "attempts": "how often in a row the device's passes have failed",
    "clients": "length of the list",
    "delivery": "id of the delivery, as in the device's record and twin",
    "device_id": "the device's id in its hub",
    "devices": "how many devices",
    "drift": "what is not as it should be",
    "drifted": "devices that were sent to be looked at",
    "entries": "how many entries were dropped",
    "error": "type of the exception; its text is told nowhere",
    "fleet": "devices that are in their hub as far as the records know",
    "generation": "number of the request",
    "held": "devices that are gone and were not revoked",
    "hub": "host name of the IoT Hub",
    "immediately": "whether the old password ends at once",
    "kind": "what it is",
    "message": "the same in a sentence",
    "most": "how many a sweep may revoke by itself",
    "name": "its name",
    "onboarded": "devices that were asked for because they opt in",
    "onboarding": "whether the device is onboarded, too",
    "place": "container registry and connected registry, with a slash between them",
    "places": "how many entries",
    "queue": "name of the queue",
    "reason": "one of the reason names",
    "registry": "name of the container registry",
    "report": "id of the report",
    "requested_by": "who asked",
    "revoked": "devices that were gone and were revoked",
    "scope_map": "name of the scope map",
    "secret": "name of the secret in Key Vault",
    "slot": "`password1` or `password2`",
    "source": "what could not be read, and why",
    "timer": "name of the function",
    "token": "name of the token",
    "unexplained": "things of this deployment that have no record",
    "unread": "sources that could not be read",
    "version": "version of the secret",
    "where": "the registry, vault or hub that has it",
}
"""What a field holds, by its name; it is the same in every event."""


def _of_a_device(when: str, *fields: str) -> Event:
    return Event(when, ("hub", "device_id", *fields))


_CHANGED = "a request changed what is wanted"
_WITHDRAWN = "a withdrawal, step by step"

EVENTS: dict[str, Event] = {
    "device.intent.recorded": _of_a_device(_CHANGED, "generation", "requested_by"),
    "device.revoke.recorded": _of_a_device(_CHANGED, "generation", "requested_by"),
    "device.rotation.recorded": _of_a_device(_CHANGED, "generation", "requested_by", "immediately"),
    "device.scope_map.written": _of_a_device("step 5", "scope_map"),
    "device.token.created": _of_a_device("step 5", "token"),
    "device.token.updated": _of_a_device("step 5", "token"),
    "device.password.generated": _of_a_device("step 6", "token", "slot"),
    "device.passwords.removed": _of_a_device("step 6", "token"),
    "device.credential.stored": _of_a_device("step 6", "secret", "version"),
    "membership.list.written": Event("a commit", ("place", "clients")),
    "device.membership.joined": _of_a_device("step 6", "place"),
    "device.credential.delivered": _of_a_device("step 7", "delivery", "address"),
    "device.secret.disabled": _of_a_device("step 8, or 7 of a withdrawal", "version"),
    "device.token.disabled": _of_a_device(_WITHDRAWN, "token"),
    "device.membership.left": _of_a_device(_WITHDRAWN, "place"),
    "device.credential.withdrawn": _of_a_device(_WITHDRAWN, "places"),
    "device.token.deleted": _of_a_device(_WITHDRAWN, "token"),
    "device.access.revoked": _of_a_device("nothing of the device is left"),
    "device.credential.acknowledged": _of_a_device(
        "the device has logged in with what was delivered"
    ),
    "device.drift.found": _of_a_device("the sweep found something changed, as a warning", "drift"),
    "device.warning.raised": _of_a_device("a warning came onto the record, as a warning", "reason"),
    "device.tag.refused": _of_a_device(
        "the sweep met a tag that asks for what cannot be, as a warning", "reason"
    ),
    "device.convergence.<state>": _of_a_device(
        "step 9, with the reason; a warning for `blocked`", "generation", "reason", "attempts"
    ),
    "device.convergence.crashed": _of_a_device("a defect, as an error", "error", "at"),
    "door.request.crashed": Event(
        "a request that was answered with 500, as an error", ("error", "at")
    ),
    "door.request.failed": Event(
        "a request that was answered with 500, as a warning", ("reason", "message")
    ),
    "device.allocation.answered": Event(
        "the provisioning service was told a hub", ("hub", "onboarding")
    ),
    "event.ignored": Event("an event of a kind, hub or vault that does not matter", ("kind",)),
    "message.rejected": Event(
        "a message was kept in a poison queue, as a warning", ("queue", "reason")
    ),
    "sweep.completed": Event(
        "a sweep has ended, with its counts",
        ("devices", "drifted", "onboarded", "revoked", "held", "unexplained", "unread"),
    ),
    "sweep.revokes.held": Event(
        "too many devices are gone, as a warning", ("devices", "fleet", "most")
    ),
    "sweep.revokes.approved": Event("somebody let devices go that were held", ("devices",)),
    "sweep.unexplained.found": Event(
        "a warning for each thing that no record explains", ("kind", "name", "where")
    ),
    "sweep.source.unread": Event("a warning for each source that could not be read", ("source",)),
    "sweep.ledger.mended": Event(
        "the sweep dropped entries that nothing explains, as a warning", ("place", "entries")
    ),
    "sweep.scope_map.removed": Event(
        "the sweep removed one that nothing uses", ("name", "registry")
    ),
    "sweep.scope_map.kept": Event(
        "the service did not remove one that nothing seemed to use, as a warning",
        ("name", "reason"),
    ),
    "sweep.report.superseded": Event(
        "two sweeps ran at once, as a warning; the other one's report counts", ("report",)
    ),
    "schedule.overdue.enqueued": Event(
        "the timer found devices whose hint was lost, as a warning", ("devices",)
    ),
    "schedule.timer.failed": Event(
        "a timer's run ended early, as a warning; the next one tries again",
        ("timer", "reason", "message"),
    ),
    "schedule.timer.crashed": Event(
        "a defect in a timer's run, as an error", ("timer", "error", "at")
    ),
}
"""The events by their names. `<state>` stands for a state of the record in lower case."""
