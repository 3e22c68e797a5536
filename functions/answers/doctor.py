"""What is wrong, as the HTTP API shows it."""

from __future__ import annotations

import shlex
from typing import Self

from firstpull.fleet.doctor import Diagnosis, FindingName, Severity
from functions.answers.base import Answer, Time


class Finding(Answer):
    """Something that is wrong. `command` mends it, in the words of a shell."""

    name: FindingName
    severity: Severity
    subject: str
    what: str
    why: str
    command: str | None


class NotChecked(Answer):
    """Something that could not be looked at. `command` lets firstpull see it."""

    subject: str
    why: str
    command: str | None


class Doctor(Answer):
    """Everything found, errors first."""

    at: Time
    findings: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...]

    @classmethod
    def of(cls, diagnosis: Diagnosis) -> Self:
        """The answer for a diagnosis."""
        return cls(
            at=diagnosis.at,
            findings=tuple(
                Finding(
                    name=found.name,
                    severity=found.name.severity,
                    subject=found.subject,
                    what=found.what,
                    why=found.name.why,
                    command=shlex.join(found.command) if found.command else None,
                )
                for found in diagnosis.findings
            ),
            not_checked=tuple(
                NotChecked(
                    subject=one.subject,
                    why=one.why,
                    command=shlex.join(one.command) if one.command else None,
                )
                for one in diagnosis.not_checked
            ),
        )
