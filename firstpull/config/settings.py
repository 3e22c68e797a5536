"""The settings: read from the environment and validated at start, all errors in one message."""

from __future__ import annotations

import base64
import binascii
import codecs
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from firstpull.config.policy import Policy, read_policy
from firstpull.config.roles import NamedKey
from firstpull.model.governance import ResourceId
from firstpull.model.secret import Secret
from firstpull.model.strict_json import read_strictly

_DISABLED = re.compile(r"AzureWebJobs(\.|_{1,2}).+(\.|_{1,2})Disabled")
_VAULT_REFERENCE = "@Microsoft.KeyVault("
"""How a reference to a secret begins; the value of a setting whose secret cannot be read."""


class SettingsError(Exception):
    """The settings are not valid. The message lists every error, one a line."""

    @classmethod
    def of(cls, problems: Mapping[str, str]) -> Self:
        """The error for problems by setting, each with its path in the setting."""
        lines = [f"  {name}: {problem}" for name, problem in problems.items()]
        return cls("firstpull's settings are not valid:\n" + "\n".join(lines))


def _https(value: str) -> str:
    if not value.startswith("https://"):
        raise ValueError("is not an https:// address")
    return value.rstrip("/")


def _policy(value: object) -> object:
    if value == "":
        return None
    return read_policy(value) if isinstance(value, str) else value


def _none_if_empty(value: object) -> object:
    return value or None


def _keys(value: object) -> object:
    """Keys of Standard Webhooks: `whsec_` and 24 to 64 random bytes in base64."""
    if not isinstance(value, str):
        return value
    if value.startswith(_VAULT_REFERENCE):
        return ()  # a secret that cannot be read must not stop the other triggers
    keys = [text.strip() for text in value.split(",") if text.strip()]
    for number, key in enumerate(keys, start=1):
        try:
            length = len(base64.b64decode(key.removeprefix("whsec_"), validate=True))
        except binascii.Error:
            length = 0
        if not key.startswith("whsec_") or not 24 <= length <= 64:
            raise ValueError(f"key {number} is not whsec_ and 24 to 64 bytes in base64")
    return tuple(Secret(key) for key in keys)


def _named_keys(value: object) -> object:
    return read_strictly(value) if isinstance(value, str) and value.strip() else value or ()


def _listed(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(text.strip() for text in value.split(",") if text.strip())


def _complete(value: ResourceId) -> ResourceId:
    if not value.is_complete:
        raise ValueError("is not the ARM id of a resource")
    return value


HttpsUrl = Annotated[str, AfterValidator(_https)]


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="FIRSTPULL_",
        frozen=True,
        extra="ignore",
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,  # `make docs` writes them into docs/settings.md
    )


class CallerSettings(_Settings):
    """Who may do what over the HTTP API."""

    named_keys: Annotated[tuple[NamedKey, ...], NoDecode, BeforeValidator(_named_keys)] = ()
    """Function keys that have a name and roles, as JSON: `name`, `sha256` and `roles` of each.

    `sha256` is that of the key's value. `roles` are `Reader`, `Operator`, `MassRevokeApprover`.
    """

    fleet_page: bool = False
    """Whether people may look at the fleet in a browser, at `/api/fleet`."""

    roles_required: bool = False
    """Whether callers without a role are refused; otherwise they may do everything."""


class StorageSettings(_Settings):
    """The app's storage account: a connection string, or three addresses and the app's identity."""

    storage: Annotated[str | None, Field(validation_alias="AzureWebJobsStorage")] = None
    """Connection string of the app's storage account. Set either this or the next three."""
    storage_blob_url: Annotated[
        HttpsUrl | None, Field(validation_alias="AzureWebJobsStorage__blobServiceUri")
    ] = None
    """`https://<account>.blob.core.windows.net`, which the app calls with its identity."""
    storage_queue_url: Annotated[
        HttpsUrl | None, Field(validation_alias="AzureWebJobsStorage__queueServiceUri")
    ] = None
    """`https://<account>.queue.core.windows.net`, likewise."""
    storage_table_url: Annotated[
        HttpsUrl | None, Field(validation_alias="AzureWebJobsStorage__tableServiceUri")
    ] = None
    """`https://<account>.table.core.windows.net`, likewise."""

    @model_validator(mode="after")
    def _storage_is_named_once(self) -> Self:
        addresses = (self.storage_blob_url, self.storage_queue_url, self.storage_table_url)
        if (self.storage is None) != all(addresses):
            raise ValueError(
                "set either AzureWebJobsStorage or all of AzureWebJobsStorage__blobServiceUri, "
                "__queueServiceUri and __tableServiceUri"
            )
        return self


class PolicySettings(_Settings):
    """Where the policy is: in a setting, or in a document that is read again when it changes."""

    policy: Annotated[Policy | None, NoDecode, BeforeValidator(_policy)] = None
    """The hubs, registries and sites that requests may name, as JSON.

    At most 128 KiB; else set one of the next two.
    """
    policy_blob: Annotated[
        str | None,
        Field(pattern=r"^[a-z0-9-]{3,63}/.{1,1024}$"),
        BeforeValidator(_none_if_empty),
    ] = None
    """A blob with the policy: `container/name` in the app's storage account."""
    policy_file: Annotated[Path | None, BeforeValidator(_none_if_empty)] = None
    """Path of such a file."""

    @model_validator(mode="after")
    def _policy_is_named_once(self) -> Self:
        if sum(each is not None for each in (self.policy, self.policy_blob, self.policy_file)) != 1:
            raise ValueError(
                "set one of FIRSTPULL_POLICY, FIRSTPULL_POLICY_BLOB and FIRSTPULL_POLICY_FILE"
            )
        return self

    @property
    def policy_setting(self) -> str:
        """The name of the one that is set."""
        if self.policy_blob is not None:
            return "FIRSTPULL_POLICY_BLOB"
        return "FIRSTPULL_POLICY_FILE" if self.policy_file is not None else "FIRSTPULL_POLICY"


class Settings(PolicySettings, CallerSettings, StorageSettings):
    """One attribute per setting, named like its environment variable."""

    deployment: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = "firstpull"
    """Name of this deployment, `a-z 0-9 -`, at most 32.

    Two deployments never share a token. After a change, only newly onboarded devices get other
    names. A device's tag opts it in to every deployment whose policy lists its hub: list each hub
    in one.
    """
    key_vault_url: HttpsUrl
    """The vault that stores the passwords, `https://<name>.vault.azure.net`."""
    password_validity_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Days until a password expires, 1 to 3650. firstpull renews it after about half of them."""
    require_sealed_delivery: bool = False
    """Whether passwords that are not [sealed](security.md#sealed-deliveries) are forbidden.

    A request without a `sealingKey` is refused. A device onboarded without one is `Blocked`
    (`SealingRequired`), and gets no new password, until it is requested with one.
    """

    sweep_revokes_percent: Annotated[int, Field(ge=0, le=100)] = 10
    """Share of the fleet, 0 to 100, that one sweep may revoke without approval.

    The sweep revokes devices that their hub no longer has; above this share none until a person
    approves. Above 0, it may always revoke one device.
    """

    revokes_per_hour: Annotated[int, Field(ge=0, le=100_000)] = 50
    """Devices that callers of the HTTP API may revoke within an hour without approval.

    What events and the sweep revoke does not count.
    """

    tombstone_days: Annotated[int, Field(ge=30, le=3650)] = 90
    """Days, 30 to 3650, that the sweep keeps the record of a revoked device.

    Longer than messages wait in queues: the record refuses those from before the revoke. It stays
    while the hub has the device; the disabled secret always.
    """

    webhook_keys: Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(_keys)] = ()
    """Keys of signed webhooks: `whsec_` and 24 to 64 random bytes in base64.

    Separate several with commas while you replace one. Without a key that can be read, signed
    webhooks are off.
    """

    arm_endpoint: HttpsUrl = "https://management.azure.com"
    """Address of Azure Resource Manager. A sovereign cloud has other values here and below."""
    arm_audience: HttpsUrl = "https://management.azure.com"
    """Audience of the access tokens for Azure Resource Manager."""
    iot_hub_audience: HttpsUrl = "https://iothubs.azure.net"
    """Audience of the access tokens for IoT Hub."""

    resource_ids: Annotated[
        tuple[Annotated[ResourceId, AfterValidator(_complete)], ...],
        NoDecode,
        BeforeValidator(_listed),
    ] = ()
    """ARM ids of the hubs, the vault and the app's storage account, separated with commas.

    `GET /api/doctor` looks at them; the container registries' ids are in the policy.
    """

    application_insights: Annotated[
        str | None, Field(validation_alias="APPLICATIONINSIGHTS_CONNECTION_STRING")
    ] = None
    """Where traces, metrics and log events go. Without it, log events go to the host's log only."""

    client_id: Annotated[str | None, Field(validation_alias="AZURE_CLIENT_ID")] = None
    """Client id of the user-assigned identity. Without it, the app uses the system-assigned one."""

    @property
    def password_validity(self) -> timedelta:
        """How long a password is valid."""
        return timedelta(days=self.password_validity_days)


def read_settings() -> Settings:
    """The settings in this process's environment. Raises SettingsError with every error."""
    # pydantic validates a whole model only if each field is valid, so the settings that depend on
    # each other are validated alone too.
    problems = _problems_of(StorageSettings, "AzureWebJobsStorage") | _problems_of(
        PolicySettings, "FIRSTPULL_POLICY"
    )
    problems |= {n: p for n, p in _problems_of(Settings, "").items() if n}
    if problems:
        raise SettingsError.of(problems)
    return Settings.model_validate({})


def read_policy_document(content: bytes, *, setting: str) -> Policy:
    """The policy in a document. Raises SettingsError with every error, by its path."""
    try:
        return read_policy(content.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        problems = {
            ".".join((setting, *map(str, e["loc"]))): _reason(e["msg"]) for e in error.errors()
        }
    except ValueError as error:
        problems = {setting: str(error)}
    raise SettingsError.of(problems)


@cache
def read_caller_settings() -> CallerSettings:
    """The settings about callers, which `read_settings` has validated at the start."""
    return CallerSettings()


def unresolved_references() -> Iterator[str]:
    """The settings of firstpull whose secret in Key Vault the platform could not read."""
    for name, value in os.environ.items():
        if name.startswith("FIRSTPULL_") and value.startswith(_VAULT_REFERENCE):
            yield name


def disabled_functions() -> Iterator[str]:
    """The settings that switch a function off, in each of the host's spellings."""
    for name, value in os.environ.items():
        if _DISABLED.fullmatch(name) and value.lower() in ("true", "1"):
            yield name


def _problems_of(model: type[BaseSettings], name_of_all: str) -> dict[str, str]:
    """The errors by setting, each with its path in the setting; `name_of_all` is the model's."""
    try:
        model.model_validate({})
    except ValidationError as error:
        return {_variable(e["loc"]) or name_of_all: _reason(e["msg"]) for e in error.errors()}
    return {}


def _variable(location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    first, *rest = (str(part) for part in location)
    known = Settings.model_fields.get(first)
    name = f"FIRSTPULL_{first.upper()}" if known is not None else first
    return ".".join((name, *rest))


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")
