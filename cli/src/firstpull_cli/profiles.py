"""Which firstpull to call, and where its secrets come from.

In this order: `--profile` or FIRSTPULL_PROFILE, FIRSTPULL_URL, what `make up` has written, and the
config file's default. The first that is there decides everything, so that no key is sent to
another address than its own.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from firstpull_cli.errors import CliError, Exit

LOCAL = "local"
"""The profile of `make up`."""
_AZURE_ENV = Path(".local/azure.env")
_FIELDS = {
    "url": str,
    "entra": str,
    "key_variable": str,
    "key_command": list,
    "master_key_command": list,
}
_EXAMPLE = """
    default = "prod"

    [profiles.prod]
    url = "https://NAME.azurewebsites.net"
    entra = "api://CLIENT-ID"
    key_command = ["az", "functionapp", "keys", "list", "--name", "NAME", "--resource-group",
                   "GROUP", "--query", "functionKeys.default", "--output", "tsv"]
"""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One firstpull. `key_command` and `master_key_command` print the secret that they name.

    `variables` are where secrets are looked up before a command is run. `entra` is the Entra
    application in front, as a resource. `ca` is a file of certificate authorities.
    """

    name: str
    url: str
    entra: str | None = None
    key_variable: str = "FIRSTPULL_KEY"
    key_command: tuple[str, ...] = ()
    master_key_command: tuple[str, ...] = ()
    ca: str | None = None
    variables: Mapping[str, str]

    @property
    def page(self) -> str:
        """The address of the fleet page; behind Entra, that of the sign-in that leads there."""
        sign_in = "/.auth/login/aad?post_login_redirect_uri=" if self.entra is not None else ""
        return f"{self.url}{sign_in}/api/fleet"


def config_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The file of profiles: FIRSTPULL_CONFIG, or `firstpull/config.toml` in the config folder."""
    if given := environment.get("FIRSTPULL_CONFIG"):
        return Path(given)
    folder = environment.get("XDG_CONFIG_HOME") or environment.get("APPDATA")
    return (Path(folder) if folder else Path.home() / ".config") / "firstpull/config.toml"


def choose_profile(name: str | None, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile to use. Raises CliError, also for an address that would reveal the key."""
    profile = _chosen(name or environment.get("FIRSTPULL_PROFILE"), environment)
    parts = urlsplit(profile.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _unusable(f"{profile.url!r} is no address", "Give one such as https://HOST.")
    if parts.scheme == "http" and not re.fullmatch(r"127\.[0-9.]+|localhost|::1", parts.hostname):
        raise _unusable(
            f"{profile.url} would carry the function key unencrypted",
            "Use https:// in the profile.",
        )
    return profile


def read_profiles(path: Path) -> tuple[str | None, dict[str, dict[str, Any]]]:
    """The default's name, and all profiles of a config file. Raises CliError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError) as error:
        raise _unusable(f"{path} cannot be read: {error}", "Correct it.") from None
    if unknown := document.keys() - {"default", "profiles"}:
        raise _unusable(f"{path} has unknown fields: {_listed(unknown)}", f"It is like{_EXAMPLE}")
    profiles = document.get("profiles", {})
    for name, fields in profiles.items():
        _check(path, name, fields)
    return document.get("default"), profiles


def _chosen(name: str | None, environment: Mapping[str, str]) -> Profile:
    if name == LOCAL:
        return _local(environment)
    if name is None and (url := environment.get("FIRSTPULL_URL")):
        ca = environment.get("CA_BUNDLE")
        return Profile(name="FIRSTPULL_URL", url=url.rstrip("/"), ca=ca, variables=environment)
    if name is None and _azure_env() is not None:
        return _local(environment)
    path = config_file(environment)
    default, profiles = read_profiles(path)
    name = name or default
    if name is None:
        raise _unusable(
            "nothing says which firstpull to call",
            "Set FIRSTPULL_URL and FIRSTPULL_KEY, run `make up` in the repository, or write "
            f"{path}:\n{_EXAMPLE}",
        )
    if name not in profiles:
        there = _listed({LOCAL, *profiles})
        raise _unusable(f"{path} has no profile {name!r}", f"Choose one of: {there}.")
    fields = profiles[name]
    return Profile(
        name=name,
        url=fields["url"].rstrip("/"),
        entra=fields.get("entra"),
        key_variable=fields.get("key_variable", "FIRSTPULL_KEY"),
        key_command=tuple(fields.get("key_command", ())),
        master_key_command=tuple(fields.get("master_key_command", ())),
        variables=environment,
    )


def _check(path: Path, name: str, fields: object) -> None:
    if not isinstance(fields, dict) or "url" not in fields:
        raise _unusable(f"{path}: the profile {name!r} has no url", f"It is like{_EXAMPLE}")
    for field, value in fields.items():
        kind = _FIELDS.get(field)
        if kind is None:
            raise _unusable(
                f"{path}: the profile {name!r} has the unknown field {field!r}",
                f"Known are {_listed(_FIELDS)}. A secret never stands here: key_command prints it, "
                "or the environment variable named by key_variable has it.",
            )
        is_list = isinstance(value, list) and all(isinstance(part, str) for part in value)
        if not (is_list if kind is list else isinstance(value, str)):
            what = "a list of texts" if kind is list else "a text"
            raise _unusable(f"{path}: {field} of {name!r} is not {what}", f"It is like{_EXAMPLE}")


def _local(environment: Mapping[str, str]) -> Profile:
    file = _azure_env()
    if file is None:
        raise _unusable(
            f"there is no {_AZURE_ENV} here or above", "Run `make up` in the repository's root."
        )
    values: dict[str, str] = {}
    for word in shlex.split(file.read_text(encoding="utf-8"), comments=True):
        variable, is_value, value = word.partition("=")
        if is_value:
            values[variable] = value
    if "FIRSTPULL_URL" not in values:
        raise _unusable(f"{file} names no FIRSTPULL_URL", "Start `make up` again.")
    return Profile(
        name=LOCAL,
        url=values["FIRSTPULL_URL"].rstrip("/"),
        ca=values.get("CA_BUNDLE"),
        variables={**environment, "FIRSTPULL_TOKEN": "", **values},
    )


def _azure_env() -> Path | None:
    here = Path.cwd()
    files = (folder / _AZURE_ENV for folder in (here, *here.parents))
    return next((file for file in files if file.is_file()), None)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _unusable(message: str, advice: str) -> CliError:
    return CliError(message, advice=advice, status=Exit.USAGE)
