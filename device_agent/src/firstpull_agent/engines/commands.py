"""Runs an engine's command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from firstpull_agent.reports import Failure, Reason
from firstpull_agent.secret import Secret

# Commands must not see the device's own key, nor logins other than the delivered one.
_WITHHELD = ("FIRSTPULL_DEVICE_CONNECTION_STRING", "DOCKER_AUTH_CONFIG")

LOGIN_TIMEOUT_SECONDS = 60.0
PULL_TIMEOUT_SECONDS = 3600.0


def run_command(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
    secret_input: Secret | None = None,
) -> str:
    """The command's standard output. Raises Failure(EngineFailed) with its standard error.

    A secret goes to standard input only, and is hidden in the failure if the command repeats it.
    """
    inherited = {key: value for key, value in os.environ.items() if key not in _WITHHELD}
    given = "" if secret_input is None else secret_input.reveal()
    what = " ".join(argv[:2])
    try:
        done = subprocess.run(  # noqa: S603 - a list, without a shell; values are checked
            list(argv),
            input=given,
            env={**inherited, **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure(
            Reason.ENGINE_FAILED, f"{what} took longer than {timeout_seconds:.0f} s"
        ) from None
    except OSError as error:
        raise Failure(Reason.ENGINE_FAILED, f"{what} cannot run: {error.strerror}") from None
    if done.returncode != 0:
        complaint = " ".join(done.stderr.split())
        if given:
            complaint = complaint.replace(given, "(hidden)")
        raise Failure(Reason.ENGINE_FAILED, f"{what} failed: {complaint[-500:]}")
    return done.stdout
