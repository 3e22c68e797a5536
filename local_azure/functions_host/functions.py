"""The functions of an app, and what an invocation comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local_azure.functions_host.protos import TypedData


class AppRejected(Exception):
    """An app that cannot be served, with the stack trace where the worker gave one."""

    def __init__(self, message: str, stack_trace: str = "") -> None:
        super().__init__(message)
        self.stack_trace = stack_trace


@dataclass(frozen=True)
class Binding:
    """A trigger, input or output of a function. `settings` are its properties as declared."""

    name: str
    type: str
    settings: Mapping[str, Any]

    @property
    def is_trigger(self) -> bool:
        """Whether this starts the function."""
        return self.type.lower().endswith("trigger")


@dataclass(frozen=True)
class Function:
    """A function of the app."""

    name: str
    id: str
    bindings: tuple[Binding, ...]

    @property
    def trigger(self) -> Binding:
        """What starts it. The programming model lets no function have none or two."""
        return next(binding for binding in self.bindings if binding.is_trigger)

    def binding(self, name: str) -> Binding:
        """The binding of this name, which there is."""
        return next(binding for binding in self.bindings if binding.name == name)


@dataclass(frozen=True)
class Succeeded:
    """The return value of a function, None without one, and its outputs by their bindings."""

    value: TypedData | None = None
    outputs: Mapping[str, TypedData] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """The exception that ended an invocation: `Type: text`, and its stack."""

    message: str
    stack_trace: str = ""
