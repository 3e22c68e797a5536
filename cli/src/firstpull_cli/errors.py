"""How the command fails: a message, what to do about it, and an exit status for scripts."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit statuses. 2 is also what a wrong option gives, 130 Ctrl-C."""

    OK = 0
    FAILED = 1
    """Something was refused, is blocked, or needs a person."""
    USAGE = 2
    """The command, its file or the profile is wrong."""
    NOT_FOUND = 3
    DENIED = 4
    """The key, the token or a role is missing."""
    UNAVAILABLE = 5
    """firstpull cannot be reached, or does not answer for now."""
    TIMED_OUT = 6
    """What `--wait` waits for did not come in time. It goes on."""
    CHANGES = 7
    """Of `plan --exit-code`: there is something to do."""


class CliError(Exception):
    """A failure. `advice` says what the operator can do."""

    def __init__(self, message: str, *, advice: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.status = status
