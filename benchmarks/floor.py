"""The least time that the protocol needs: the longest chain of calls, each for a reason.

A chain is data: calls, and which calls must have been answered before another one begins. Its
length follows from the profile alone, whatever firstpull does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.profile import ARM, HUB, KEY_VAULT, LIST_PATCH, PASSWORD, SCOPE_MAP_PUT, TOKEN_PUT


@dataclass(frozen=True, kw_only=True)
class Step:
    """A call, or the end of an operation. `after`: the steps that must end first, each with why."""

    name: str
    seconds: float
    after: Mapping[str, str]


_OPERATION = "Azure makes the token"
"""The step whose length is drawn anew for each token."""
_NOT_OVER_ANOTHER = "A PUT over an existing token drops its passwords."
_NOT_TOO_EARLY = "A password for a token that is not ready is refused (TokenNotActive)."
_IS_CLIENT = "A device must not get a credential that its connected registry will refuse."

ONBOARD: tuple[Step, ...] = (
    Step(name="read the twin", seconds=HUB, after={}),
    Step(name="read the connected registry", seconds=ARM, after={}),
    Step(name="read the scope map", seconds=ARM, after={}),
    Step(name="read the token", seconds=ARM, after={}),
    Step(
        name="PUT the token",
        seconds=TOKEN_PUT,
        after={
            "read the twin": "Nothing is made for a device that the hub does not have.",
            "read the connected registry": "Nothing is made where there is no room.",
            "read the scope map": "A token names a scope map that exists and allows the request.",
            "read the token": _NOT_OVER_ANOTHER,
        },
    ),
    Step(
        name=_OPERATION,
        seconds=0.0,
        after={"PUT the token": "Azure answers before the token is ready."},
    ),
    Step(
        name="see that the token is ready",
        seconds=ARM / 2,
        after={_OPERATION: "The answer of a read tells; its second half comes after the end."},
    ),
    Step(
        name="read the list",
        seconds=ARM,
        after={"PUT the token": "It is read right before it is written whole, without an ETag."},
    ),
    Step(
        name="PATCH the list",
        seconds=LIST_PATCH,
        after={
            "read the list": "Others' tokens in it must stay.",
            "see that the token is ready": "That a list takes an unfinished token is not known.",
        },
    ),
    Step(
        name="generate the password",
        seconds=PASSWORD,
        after={"see that the token is ready": _NOT_TOO_EARLY},
    ),
    Step(
        name="store the secret",
        seconds=KEY_VAULT,
        after={"generate the password": "Its value is in that answer only."},
    ),
    Step(
        name="PATCH the twin",
        seconds=HUB / 2,  # the twin changes in the middle of the call
        after={
            "store the secret": "A password that only a twin has could not be delivered again.",
            "PATCH the list": _IS_CLIENT,
        },
    ),
)
"""From the request to the twin, on a host that runs, with a scope map that another device made."""

FIRST_OF_ITS_SCOPE_MAP: tuple[Step, ...] = tuple(
    step
    for each in ONBOARD
    for step in (
        (
            Step(
                name="PUT the scope map",
                seconds=SCOPE_MAP_PUT,
                after={"read the scope map": "A PUT over an existing one changes what others may."},
            ),
            Step(
                name=each.name,
                seconds=each.seconds,
                after={**each.after, "PUT the scope map": "A token names one that exists."},
            ),
        )
        if each.name == "PUT the token"
        else (each,)
    )
)
"""The same for the first device with these repositories."""


REVOKE: tuple[Step, ...] = (
    Step(name="read the twin", seconds=HUB, after={}),
    Step(name="read the token", seconds=ARM, after={}),
    Step(name="read the list", seconds=ARM, after={}),
    Step(name="read the secret's versions", seconds=KEY_VAULT, after={}),
    Step(
        name="disable the token",
        seconds=ARM,
        after={"read the token": "Only a token of this device is touched."},
    ),
    Step(
        name="PATCH the list",
        seconds=LIST_PATCH,
        after={"read the list": "Others' tokens in it must stay."},
    ),
    Step(
        name="PATCH the twin",
        seconds=HUB,
        after={"read the twin": "The entry goes under the ETag of the twin that was read."},
    ),
    Step(
        name="disable the secret's versions",
        seconds=KEY_VAULT,
        after={"read the secret's versions": "Each version is disabled by its id."},
    ),
    Step(
        name="DELETE the token",
        seconds=ARM / 2,  # it takes effect in the middle of the call
        after={
            "disable the token": "The login ends before anything that may fail.",
            "PATCH the list": "A token in a list is not deleted (TokenInUse).",
        },
    ),
)
"""From the request to the deletion of the token."""

MOVE: tuple[Step, ...] = (
    Step(name="read the twin", seconds=HUB, after={}),
    Step(name="read the token", seconds=ARM, after={}),
    Step(name="read the new list", seconds=ARM, after={}),
    Step(name="read the secret's versions", seconds=KEY_VAULT, after={}),
    Step(
        name="read the secret",
        seconds=KEY_VAULT,
        after={"read the secret's versions": "The one to deliver is known by its tags."},
    ),
    Step(
        name="PATCH the new list",
        seconds=LIST_PATCH,
        after={
            "read the new list": "Others' tokens in it must stay.",
            "read the token": "A list takes tokens that exist.",
            "read the twin": "Nothing changes for a device that the hub does not have.",
        },
    ),
    Step(
        name="PATCH the twin",
        seconds=HUB / 2,  # the twin changes in the middle of the call
        after={"PATCH the new list": _IS_CLIENT, "read the secret": "It holds the value."},
    ),
)
"""From the request to the delivery for another connected registry of the container registry."""

ROTATE: tuple[Step, ...] = (
    Step(name="read the twin", seconds=HUB, after={}),
    Step(name="read the token", seconds=ARM, after={}),
    Step(
        name="generate the password",
        seconds=PASSWORD / 2,  # it is made in the middle of the call
        after={
            "read the twin": "Only a delivery that the device has acknowledged is replaced.",
            "read the token": "A slot that may be in use is not filled.",
        },
    ),
)
"""From the request to the new password. The sync that follows is the site's own matter."""

DELIVER_AFTER_SYNC: tuple[Step, ...] = (
    Step(name="see the sync", seconds=ARM / 2, after={}),
    Step(
        name="PATCH the twin",
        seconds=HUB / 2,  # the twin changes in the middle of the call
        after={"see the sync": "Before it, the site refuses the new password."},
    ),
)
"""From a sync that brings the new password to its delivery."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The longest chain of steps, with its length in seconds."""

    steps: tuple[str, ...]
    seconds: float


def longest_chain(
    steps: Sequence[Step], *, operation_seconds: float = 0.0, scale: float = 1.0
) -> Chain:
    """The chain that decides how long `steps` take at least, given in the order of their calls.

    `operation_seconds`: how long the token's operation took, from its effect in the middle of the
    PUT; what the second half of the PUT has covered does not count again.
    """
    rest = max(0.0, operation_seconds / scale - TOKEN_PUT / 2)
    ends: dict[str, Chain] = {}
    for step in steps:
        before = max(
            (ends[name] for name in step.after),
            key=lambda chain: chain.seconds,
            default=Chain(steps=(), seconds=0.0),
        )
        seconds = rest if step.name == _OPERATION else step.seconds
        ends[step.name] = Chain(
            steps=(*before.steps, step.name), seconds=before.seconds + seconds * scale
        )
    return max(ends.values(), key=lambda chain: chain.seconds)
