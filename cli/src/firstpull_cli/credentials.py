"""The headers that let a request in: a function key, and on Azure an Entra token."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from firstpull_cli.errors import CliError, Exit
from firstpull_cli.profiles import Profile

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_COMMAND_SECONDS = 120
_MASTER_KEY = "FIRSTPULL_MASTER_KEY"


class Credentials:
    """Finds secrets when they are first needed, and keeps them in memory only."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def headers(self, *, as_master: bool = False) -> dict[str, str]:
        """What to send with a request. `as_master` is for the Functions host's own routes.

        Raises CliError if a secret cannot be had.
        """
        found = {"x-functions-key": self._master_key if as_master else self._key}
        if token := self._token():
            found["Authorization"] = f"Bearer {token}"
        return found

    @cached_property
    def _key(self) -> str:
        profile = self._profile
        return self._secret(profile.key_variable, profile.key_command, field="key_command")

    @cached_property
    def _master_key(self) -> str:
        command = self._profile.master_key_command
        return self._secret(_MASTER_KEY, command, field="master_key_command")

    def _secret(self, variable: str, command: Sequence[str], *, field: str) -> str:
        secret = self._profile.variables.get(variable, "")
        if not secret and command:
            secret = _output(command)
        if not secret:
            raise CliError(
                f"the profile {self._profile.name} has no {field}, and {variable} is not set",
                advice=f"Set {variable}; or let {field} in the profile name the command that "
                "prints it, such as `az functionapp keys list`.",
                status=Exit.DENIED,
            )
        if not secret.isascii() or not secret.isprintable():
            raise CliError(
                f"what {variable} or {field} gives is no key",
                advice="It has to be one line of plain text.",
                status=Exit.DENIED,
            )
        return secret

    def _token(self) -> str | None:
        if given := self._profile.variables.get("FIRSTPULL_TOKEN"):
            return given
        if self._profile.entra is None:
            return None
        from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - takes a second

        try:
            return self._entra.get_token(f"{self._profile.entra}/.default").token
        except ClientAuthenticationError as error:
            raise CliError(
                f"Entra gave no token for {self._profile.entra}: {error.message}",
                advice=f"Run `az login --scope {self._profile.entra}/.default`.",
                status=Exit.DENIED,
            ) from None

    @cached_property
    def _entra(self) -> TokenCredential:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - takes a second

        return DefaultAzureCredential()


def _output(command: Sequence[str]) -> str:
    """The only line that a command prints. Raises CliError."""
    advice = "Run it by hand to see why; perhaps `az login` comes first."
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own, without a shell
            command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"`{command[0]} …` of the profile did not run ({type(error).__name__})"
        raise CliError(message, advice=advice, status=Exit.DENIED) from None
    if done.returncode:
        message = f"`{command[0]} …` of the profile failed with {done.returncode}"
        raise CliError(message, advice=advice, status=Exit.DENIED)
    return done.stdout.strip()
