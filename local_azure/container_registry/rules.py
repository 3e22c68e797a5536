"""The rules for names, actions and schedules. Checks raise the provider's errors."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta

from croniter import croniter

from local_azure.container_registry.exceptions import InvalidProperty, InvalidResourceName

REPOSITORY_ACTIONS = (
    "content/delete",
    "content/read",
    "content/write",
    "metadata/read",
    "metadata/write",
)
CONTINUOUS = "* * * * *"

# Learn, "Repository-scoped permissions", and the limits of the Premium tier.
_MAX_ACTIONS = 500
_MAX_DESCRIPTION = 256

# Name patterns of the provider's API definition, except that a connected registry's name starts
# with a letter and ends at 40, as its documentation has it.
_NAMES = {
    "registry": re.compile(r"[a-zA-Z0-9]{5,50}"),
    "scope map": re.compile(r"[a-zA-Z0-9_-]{5,50}"),
    "token": re.compile(r"[a-zA-Z0-9-]{5,50}"),
    "connected registry": re.compile(r"[a-zA-Z][a-zA-Z0-9]{4,39}"),
}

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_ACTION = re.compile(
    rf"repositories/(?:\*|{_REPOSITORY}(?:/\*)?)/(?:{'|'.join(REPOSITORY_ACTIONS)})"
    r"|gateway/[a-zA-Z0-9]{5,50}/(?:config|message)/(?:read|write)"
)

_MESSAGE_TTL = (timedelta(days=1), timedelta(days=90))
_SYNC_WINDOW = (timedelta(hours=1), timedelta(days=7))


def check_name(kind: str, name: str) -> None:
    """`kind` is one of registry, scope map, token and connected registry."""
    if not _NAMES[kind].fullmatch(name):
        raise InvalidResourceName(
            f"The {kind} name '{name}' is invalid. It must match '^{_NAMES[kind].pattern}$'."
        )


def check_description(description: str) -> None:
    """At most 256 characters."""
    if len(description) > _MAX_DESCRIPTION:
        raise InvalidProperty(f"The description is longer than {_MAX_DESCRIPTION} characters.")


def check_actions(actions: Collection[str]) -> None:
    """1 to 500 actions; a wildcard is a repository's last segment, or all of it."""
    if not 1 <= len(actions) <= _MAX_ACTIONS:
        raise InvalidProperty(f"A scope map has 1 to {_MAX_ACTIONS} actions, not {len(actions)}.")
    wrong = next((action for action in actions if not _ACTION.fullmatch(action)), None)
    if wrong is not None:
        raise InvalidProperty(f"The action '{wrong}' is invalid.")


def check_sync_times(
    *, schedule: str, sync_window: timedelta | None, message_ttl: timedelta
) -> None:
    """Five cron fields; a window of 1 hour to 7 days unless always on; a TTL of 1 to 90 days."""
    if len(schedule.split()) != 5 or not croniter.is_valid(schedule):
        raise InvalidProperty(f"The schedule '{schedule}' is not a cron expression of five fields.")
    if schedule != CONTINUOUS and sync_window is None:
        raise InvalidProperty("A syncWindow is required with a schedule that is not continuous.")
    if sync_window is not None and not _SYNC_WINDOW[0] <= sync_window <= _SYNC_WINDOW[1]:
        raise InvalidProperty("The syncWindow must be between PT1H and P7D.")
    if not _MESSAGE_TTL[0] <= message_ttl <= _MESSAGE_TTL[1]:
        raise InvalidProperty("The messageTtl must be between P1D and P90D.")


def latest_tick(schedule: str, now: datetime) -> datetime:
    """The latest time at or before `now` that the cron expression names."""
    # get_prev is strict, so that a tick is found only from just after it.
    just_after = now + timedelta(microseconds=1)
    tick: datetime = croniter(schedule, just_after).get_prev(datetime)
    return tick
