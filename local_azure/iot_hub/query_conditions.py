"""Conditions on twins: true, false, or neither when a twin lacks what they speak of."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from local_azure.iot_hub.twins import Json, JsonObject


class Missing(Enum):
    """The value of a property that a twin does not have, which is not null."""

    MISSING = "missing"


type Found = Json | Missing

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OPERATORS = frozenset({"=", "!=", "<>", *_ORDERS})


class Operand(Protocol):
    """What can be compared."""

    def value_in(self, document: JsonObject) -> Found:
        """Its value for this twin."""
        ...


class Condition(Protocol):
    """What follows WHERE, or a part of it."""

    def holds(self, document: JsonObject) -> bool | None:
        """None is neither: a comparison with what is missing or is no primitive value."""
        ...


@dataclass(frozen=True)
class Literal:
    """A value that the query names."""

    value: Json

    def value_in(self, _: JsonObject) -> Found:
        """The same for every twin."""
        return self.value


@dataclass(frozen=True)
class Path:
    """A property by its names from the twin's root."""

    names: tuple[str, ...]

    def value_in(self, document: JsonObject) -> Found:
        """The twin's own value."""
        value: Json = document
        for name in self.names:
            if not isinstance(value, dict) or name not in value:
                return Missing.MISSING
            value = value[name]
        return value


@dataclass(frozen=True)
class Comparison:
    """Two operands and one of OPERATORS."""

    operator: str
    left: Operand
    right: Operand

    def holds(self, document: JsonObject) -> bool | None:
        """Values of different types are unequal, and neither is before the other."""
        left, right = self.left.value_in(document), self.right.value_in(document)
        if not _is_primitive(left) or not _is_primitive(right):
            return None
        if self.operator == "=":
            return _equal(left, right)
        if self.operator in {"!=", "<>"}:
            return not _equal(left, right)
        return _ordered(_ORDERS[self.operator], left, right)


@dataclass(frozen=True)
class OneOf:
    """`IN [...]`."""

    operand: Operand
    values: tuple[Json, ...]

    def holds(self, document: JsonObject) -> bool | None:
        """Whether one of the values equals the operand."""
        found = self.operand.value_in(document)
        return any(_equal(found, v) for v in self.values) if _is_primitive(found) else None


@dataclass(frozen=True)
class StartsWith:
    """`STARTSWITH(operand, prefix)`."""

    operand: Operand
    prefix: Operand

    def holds(self, document: JsonObject) -> bool | None:
        """Only strings start with something."""
        text, prefix = self.operand.value_in(document), self.prefix.value_in(document)
        if isinstance(text, str) and isinstance(prefix, str):
            return text.startswith(prefix)
        return None


@dataclass(frozen=True)
class IsDefined:
    """`is_defined(path)`."""

    path: Path

    def holds(self, document: JsonObject) -> bool:
        """Null is defined."""
        return self.path.value_in(document) is not Missing.MISSING


@dataclass(frozen=True)
class Not:
    """`NOT`."""

    condition: Condition

    def holds(self, document: JsonObject) -> bool | None:
        """Neither stays neither."""
        inner = self.condition.holds(document)
        return None if inner is None else not inner


@dataclass(frozen=True)
class Every:
    """Conditions with `AND` between them."""

    parts: tuple[Condition, ...]

    def holds(self, document: JsonObject) -> bool | None:
        """False as soon as one part is."""
        held = {part.holds(document) for part in self.parts}
        if False in held:
            return False
        return None if None in held else True


@dataclass(frozen=True)
class Some:
    """Conditions with `OR` between them."""

    parts: tuple[Condition, ...]

    def holds(self, document: JsonObject) -> bool | None:
        """True as soon as one part is."""
        held = {part.holds(document) for part in self.parts}
        if True in held:
            return True
        return None if None in held else False


def _is_primitive(found: Found) -> bool:
    return not isinstance(found, dict | list | Missing)


def _equal(left: Found, right: Found) -> bool:
    return _type_of(left) is _type_of(right) and left == right


def _ordered(order: Callable[[Any, Any], bool], left: Found, right: Found) -> bool | None:
    comparable = _type_of(left) is _type_of(right) and _type_of(left) in {float, str}
    return order(left, right) if comparable else None


def _type_of(value: Found) -> type:
    """The type in JSON, which has one for numbers, and for which no boolean is a number."""
    if isinstance(value, str):
        return str
    return float if type(value) is int else type(value)
