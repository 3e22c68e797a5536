"""The part of IoT Hub's query language that is served: `SELECT … FROM devices [WHERE …]`.

The language is that of the service's reference. What is known from its users alone: STARTSWITH
(https://github.com/MicrosoftDocs/azure-docs/issues/110329), names in double brackets, and that
the language's own words are no names without them
(https://github.com/MicrosoftDocs/azure-docs/issues/17106).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.query_conditions import (
    OPERATORS,
    Comparison,
    Condition,
    Every,
    IsDefined,
    Literal,
    Missing,
    Not,
    OneOf,
    Operand,
    Path,
    Some,
    StartsWith,
)
from local_azure.iot_hub.query_words import Word, WordKind, refused_query, words_of
from local_azure.iot_hub.twins import Json, JsonObject

MOST_CHARACTERS = 8192
_MOST_NESTED = 50  # parentheses and NOTs in each other

_ANY = None
_ATTRIBUTES: dict[str, frozenset[str] | None] = {
    "deviceId": frozenset(),
    "etag": frozenset(),
    "deviceEtag": frozenset(),
    "status": frozenset(),
    "statusReason": frozenset(),
    "statusUpdateTime": frozenset(),
    "connectionState": frozenset(),
    "lastActivityTime": frozenset(),
    "cloudToDeviceMessageCount": frozenset(),
    "authenticationType": frozenset(),
    "x509Thumbprint": frozenset({"primaryThumbprint", "secondaryThumbprint"}),
    "modelId": frozenset(),
    "version": frozenset(),
    "tags": _ANY,
    "properties": frozenset({"desired", "reported"}),
    "capabilities": frozenset({"iotEdge"}),
    "deviceScope": frozenset(),
}
_CANONICAL = {name.lower(): name for name in _ATTRIBUTES}


@dataclass(frozen=True)
class Column:
    """A property that is selected, and what it is called in the row."""

    path: Path
    name: str


@dataclass(frozen=True)
class Count:
    """`COUNT() AS name`."""

    name: str


@dataclass(frozen=True)
class Query:
    """A query on device twins. `selected` of None is `*`."""

    selected: tuple[Column, ...] | Count | None
    condition: Condition | None

    def finds(self, document: JsonObject) -> bool:
        """Whether a twin is one of the results."""
        return self.condition is None or self.condition.holds(document) is True

    @staticmethod
    def parse(text: str) -> Query:
        """Raises IotHubError 400 for what the language does not have or is not served."""
        if len(text) > MOST_CHARACTERS:
            raise refused_query(f"there are more than {MOST_CHARACTERS} characters")
        return _Parser(words_of(text)).query()


def row_of(document: JsonObject, columns: tuple[Column, ...]) -> JsonObject:
    """A projected twin. Columns that the twin does not have are left out."""
    found = ((column.name, column.path.value_in(document)) for column in columns)
    return {name: value for name, value in found if not isinstance(value, Missing)}


class _Parser:
    """Recursive descent: one method a rule of the grammar."""

    def __init__(self, words: list[Word]) -> None:
        self._words = words
        self._position = 0
        self._nested = 0

    def query(self) -> Query:
        self._expect(WordKind.KEYWORD, "SELECT")
        selected = self._selection()
        self._expect(WordKind.KEYWORD, "FROM")
        self._collection()
        condition = self._some() if self._take(WordKind.KEYWORD, "WHERE") else None
        if self._word.kind is not WordKind.END:
            raise self._refusal("AND, OR or the end")
        return Query(selected, condition)

    def _selection(self) -> tuple[Column, ...] | Count | None:
        if self._take(WordKind.SYMBOL, "*"):
            return None
        if self._calls():
            return self._count()
        columns = self._listed(self._column, WordKind.SYMBOL, ",")
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            raise refused_query("two columns have the same name; AS gives one another")
        return columns

    def _count(self) -> Count:
        self._call("COUNT")
        self._expect(WordKind.SYMBOL, ")")
        self._expect(WordKind.KEYWORD, "AS")
        return Count(self._name())

    def _column(self) -> Column:
        path = self._path()
        named = self._take(WordKind.KEYWORD, "AS")
        return Column(path, self._name() if named else path.names[-1])

    def _collection(self) -> None:
        at = self._word.at
        names = self._names()
        if [name.lower() for name in names] != ["devices"]:
            collection = ".".join(names)
            raise refused_query(f"FROM {collection} at character {at} is not served here")

    def _some(self) -> Condition:
        return Some(self._listed(self._every, WordKind.KEYWORD, "OR"))

    def _every(self) -> Condition:
        return Every(self._listed(self._condition, WordKind.KEYWORD, "AND"))

    def _condition(self) -> Condition:
        if self._take(WordKind.KEYWORD, "NOT"):
            return Not(self._inner(self._condition))
        if self._take(WordKind.SYMBOL, "("):
            condition = self._inner(self._some)
            self._expect(WordKind.SYMBOL, ")")
            return condition
        return self._function() if self._calls() else self._comparison()

    def _inner(self, rule: Callable[[], Condition]) -> Condition:
        self._nested += 1
        if self._nested > _MOST_NESTED:
            raise refused_query("conditions are nested too deep")
        condition = rule()
        self._nested -= 1
        return condition

    def _function(self) -> Condition:
        function = self._call("IS_DEFINED", "STARTSWITH")
        if function == "IS_DEFINED":
            condition: Condition = IsDefined(self._path())
        else:
            text = self._operand()
            self._expect(WordKind.SYMBOL, ",")
            condition = StartsWith(text, self._operand())
        self._expect(WordKind.SYMBOL, ")")
        return condition

    def _comparison(self) -> Condition:
        left = self._operand()
        if self._take(WordKind.KEYWORD, "IN"):
            return OneOf(left, self._values())
        if self._take(WordKind.KEYWORD, "NIN"):
            return Not(OneOf(left, self._values()))
        word = self._word
        if word.kind is not WordKind.SYMBOL or word.text not in OPERATORS:
            raise self._refusal("a comparison")
        self._position += 1
        return Comparison(word.text, left, self._operand())

    def _values(self) -> tuple[Json, ...]:
        self._expect(WordKind.SYMBOL, "[")
        values = self._listed(self._literal, WordKind.SYMBOL, ",")
        self._expect(WordKind.SYMBOL, "]")
        return values

    def _operand(self) -> Operand:
        return Literal(self._literal()) if self._word.kind is WordKind.LITERAL else self._path()

    def _literal(self) -> Json:
        return self._expect(WordKind.LITERAL).value

    def _path(self) -> Path:
        """A property of the twin, in the twin's own spelling, also by way of the collection."""
        at = self._word.at
        first, *rest = self._names()
        if first.lower() == "devices" and rest:
            first, *rest = rest
        root = _CANONICAL.get(first.lower())
        inner = _ATTRIBUTES[root] if root is not None else frozenset()
        known = inner is _ANY or not rest or rest[0] in inner
        deep = root in {"tags", "properties"}
        if root is None or not known or (len(rest) > 1 and not deep):
            name = ".".join([first, *rest])
            raise refused_query(f"{name} at character {at} is no property of a device twin")
        return Path((root, *rest))

    def _names(self) -> tuple[str, ...]:
        return self._listed(self._name, WordKind.SYMBOL, ".")

    def _name(self) -> str:
        return self._expect(WordKind.NAME).text

    def _calls(self) -> bool:
        """Whether a function's name and its parenthesis come next."""
        if self._word.kind is not WordKind.NAME:
            return False
        following = self._words[self._position + 1]
        return (following.kind, following.text) == (WordKind.SYMBOL, "(")

    def _call(self, *served: str) -> str:
        """One of these functions, up to its first argument."""
        word = self._expect(WordKind.NAME)
        self._expect(WordKind.SYMBOL, "(")
        function = word.text.upper()
        if function not in served:
            raise refused_query(f"{function}() at character {word.at} is not served here")
        return function

    def _listed[Part](
        self, rule: Callable[[], Part], kind: WordKind, between: str
    ) -> tuple[Part, ...]:
        parts = [rule()]
        while self._take(kind, between):
            parts.append(rule())
        return tuple(parts)

    @property
    def _word(self) -> Word:
        return self._words[self._position]

    def _take(self, kind: WordKind, text: str) -> bool:
        """Whether the next word is this one, which is then behind."""
        taken = (self._word.kind, self._word.text) == (kind, text)
        self._position += taken
        return taken

    def _expect(self, kind: WordKind, text: str | None = None) -> Word:
        word = self._word
        if word.kind is not kind or text not in (None, word.text):
            raise self._refusal(text or f"a {kind.name.lower()}")
        self._position += 1
        return word

    def _refusal(self, wanted: str) -> IotHubError:
        word = self._word
        return refused_query(f"{word.text} stands at character {word.at} where {wanted} should")
