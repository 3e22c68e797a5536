"""host.json: the part that this host acts upon, with Azure's defaults.

App settings named `AzureFunctionsJobHost__path__to__value` replace values of the file.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from local_azure.functions_host.settings import AppSettings
from local_azure.kernel.service import describe

_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2}(?:\.\d+)?)")


class HostJsonInvalid(Exception):
    """host.json is missing, no JSON, or holds values that Azure would refuse."""


def _time_span(value: object) -> object:
    """.NET's `[d.]hh:mm:ss[.fff]`."""
    if not isinstance(value, str):
        return value
    match = _TIME_SPAN.fullmatch(value)
    if match is None:
        raise ValueError("a time span is written hh:mm:ss")
    days, hours, minutes, seconds = match.groups(default="0")
    return timedelta(days=int(days), hours=int(hours), minutes=int(minutes), seconds=float(seconds))


TimeSpan = Annotated[timedelta, BeforeValidator(_time_span)]


class _Section(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore")


class QueueOptions(_Section):
    """`extensions.queues`. Text is passed as stored: base64, Azure's default, is not served."""

    model_config = ConfigDict(extra="forbid")

    batch_size: int = Field(default=16, ge=1, le=32)
    new_batch_threshold: int | None = Field(default=None, ge=0)
    max_polling_interval: TimeSpan = Field(
        default=timedelta(minutes=1), ge=timedelta(milliseconds=100)
    )
    visibility_timeout: TimeSpan = timedelta()
    max_dequeue_count: int = Field(default=5, ge=1)
    message_encoding: Literal["none"]

    @property
    def threshold(self) -> int:
        """The number of messages under way at which the next batch is fetched."""
        if self.new_batch_threshold is not None:
            return self.new_batch_threshold
        return self.batch_size // 2


class SingletonOptions(_Section):
    """`singleton`: the locks that let one host of several run a timer."""

    listener_lock_period: TimeSpan = Field(
        default=timedelta(minutes=1), ge=timedelta(seconds=15), le=timedelta(seconds=60)
    )
    listener_lock_recovery_polling_interval: TimeSpan = timedelta(minutes=1)


class _HttpOptions(_Section):
    route_prefix: str = "api"


class _Extensions(_Section):
    http: _HttpOptions = _HttpOptions()
    queues: QueueOptions


class HostJson(_Section):
    """The host's configuration."""

    version: Literal["2.0"]
    function_timeout: TimeSpan = Field(default=timedelta(minutes=30), gt=timedelta())
    extensions: _Extensions
    singleton: SingletonOptions = SingletonOptions()


def read_host_json(app_folder: Path, settings: AppSettings) -> HostJson:
    """The configuration in force. Raises HostJsonInvalid with every error and its place."""
    path = app_folder / "host.json"
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise HostJsonInvalid(f"{path} cannot be read") from error
    except ValueError as error:
        raise HostJsonInvalid(f"{path} is not JSON: {error}") from error
    for name, value in settings.below("AzureFunctionsJobHost__").items():
        _put(document, name.split("__"), value)
    try:
        return HostJson.model_validate(document)
    except ValidationError as error:
        raise HostJsonInvalid(f"{path}: {describe(error)}") from error


def _put(document: object, path: list[str], value: str) -> None:
    *sections, name = path
    for section in sections:
        document = _object(document).setdefault(section, {})
    _object(document)[name] = value


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise HostJsonInvalid("host.json holds a value where a section belongs")
    return document
