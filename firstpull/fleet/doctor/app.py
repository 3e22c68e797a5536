"""Checks of the app itself: clock, settings, functions, queues, records, the last sweep."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from firstpull.fleet.doctor import commands
from firstpull.fleet.doctor.findings import Command, Finding, FindingName
from firstpull.fleet.doctor.needs import Kind
from firstpull.fleet.doctor.readings import Readings
from firstpull.model.clock import MOST_OFF
from firstpull.model.errors import FirstpullError
from firstpull.model.reasons import Reason

_SWEEP_LATE = timedelta(hours=3)
"""Sweeps run each hour."""


def check_host(read: Readings) -> Iterator[Finding]:
    """The clock, the settings, and the functions that are switched off."""
    app = read.app
    where = commands.on_app(app.name, app.group)
    if abs(read.clock_offset) > MOST_OFF:
        yield Finding(
            name=FindingName.CLOCK_OFF,
            subject=app.name or "this host",
            what=f"The clock is {read.clock_offset.total_seconds():.0f} s off the storage's. On a "
            "machine of your own, set it.",
            command=commands.az("functionapp", "restart", *where),
        )
    if read.policy_refusal is not None:
        yield Finding(
            name=FindingName.POLICY_NOT_VALID,
            subject=app.policy_setting,
            what=read.policy_refusal.message,
            command=change_policy(read),
        )
    for setting in app.unresolved:
        yield Finding(
            name=FindingName.SECRET_REFERENCE_UNRESOLVED,
            subject=setting,
            what="It still has the reference to a secret in place of the secret. Repair the secret "
            "or the app's role on its vault, then restart.",
            command=commands.az("functionapp", "restart", *where),
        )
    for setting in app.disabled:
        yield Finding(
            name=FindingName.FUNCTION_DISABLED,
            subject=setting,
            what="The setting is true.",
            command=commands.az(
                *("functionapp", "config", "appsettings", "delete", *where),
                *("--setting-names", setting),
            ),
        )


def check_records(read: Readings) -> Iterator[Finding]:
    """Whether the records are there, and whether workers keep up with them."""
    if read.records is not None and read.records.reason is Reason.RECORDS_NOT_FOUND:
        account = next((one.id.name for one in read.of_kind(Kind.STORAGE)), "STORAGE_ACCOUNT")
        yield Finding(
            name=FindingName.RECORDS_NOT_FOUND,
            subject="devices",
            what="The table `devices` is gone. Create it, then `firstpull rebuild`.",
            command=commands.az(
                *("storage", "table", "create", "--name", "devices"),
                *("--account-name", account, "--auth-mode", "login"),
            ),
        )
    if read.overdue:
        since = f" since {read.oldest_due:%Y-%m-%d %H:%M} UTC" if read.oldest_due else ""
        yield Finding(
            name=FindingName.DEVICES_OVERDUE,
            subject="devices",
            what=f"{len(read.overdue)} devices are due, the first{since}: "
            f"{read.overdue[0].device_id}. The timer requeue_overdue or the queue device-work "
            "stands still.",
            command=commands.az(
                "functionapp", "restart", *commands.on_app(read.app.name, read.app.group)
            ),
        )


def check_queues(read: Readings) -> Iterator[Finding]:
    """The rejected messages of each queue."""
    for queue, front in read.kept.items():
        if isinstance(front, FirstpullError):
            continue
        count, is_whole = front
        if count or not is_whole:
            unreadable = "" if is_whole else " Storage cannot deliver one of them."
            yield Finding(
                name=FindingName.MESSAGES_KEPT,
                subject=queue,
                what=f"{count} rejected messages are seen.{unreadable} `firstpull poison list` "
                "says why; resend what is corrected. The command shows them, asks, and discards.",
                command=commands.firstpull("poison", "discard", "--queue", queue),
            )


def check_sweep(read: Readings) -> Iterator[Finding]:
    """Whether a sweep could read everything lately."""
    if isinstance(read.sweep, FirstpullError):
        return
    at = read.sweep.complete_at if read.sweep is not None else None
    if at is None or read.at - at > _SWEEP_LATE:
        since = f"The last whole sweep ended {at:%Y-%m-%d %H:%M} UTC." if at else "There was none."
        unread = ", ".join(read.sweep.unread) if read.sweep is not None else ""
        yield Finding(
            name=FindingName.SWEEP_OVERDUE,
            subject="sweep",
            what=f"{since}{f' The last one could not read {unread}.' if unread else ''}",
            command=commands.firstpull("sweep", "run"),
        )


def change_policy(read: Readings) -> Command | None:
    """Put a corrected policy where the app reads it, from the file `policy.json`."""
    app = read.app
    match app.policy_setting:
        case "FIRSTPULL_POLICY":
            return commands.az(
                *("functionapp", "config", "appsettings", "set"),
                *commands.on_app(app.name, app.group),
                *("--settings", "FIRSTPULL_POLICY=@policy.json"),
            )
        case "FIRSTPULL_POLICY_BLOB":
            account = next((one.id.name for one in read.of_kind(Kind.STORAGE)), "STORAGE_ACCOUNT")
            container, _, blob = (app.policy_place or "").partition("/")
            return commands.az(
                *("storage", "blob", "upload", "--account-name", account, "--auth-mode", "login"),
                *("--container-name", container, "--name", blob),
                *("--file", "policy.json", "--overwrite"),
            )
        case _:
            return ("cp", "policy.json", app.policy_place or "POLICY_FILE")
