"""The words of a query: names, keywords, literals and symbols, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from local_azure.iot_hub.exceptions import ARGUMENT_INVALID, IotHubError
from local_azure.iot_hub.twins import Json

_WORD = re.compile(
    r"""
      (?P<string> '(?:[^'\\]|{escape})*' | "(?:[^"\\]|{escape})*" )
    | (?P<number> -?\d+(?:\.\d+)?(?:[eE][+-]?\d+)? (?!\w) )
    | \[\[ (?P<bracketed> [^\[\]]+ ) \]\]
    | (?P<name> [A-Za-z_$][\w$]* )
    | (?P<space> \s+ )
    | (?P<symbol> <> | != | <= | >= | [=<>()\[\],.*] )
    """.replace("{escape}", r"""\\(?:['"\\]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})"""),
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(?:u(.{4})|(.))")
_CONSTANTS: dict[str, Json] = {"NULL": None, "TRUE": True, "FALSE": False}
_KEYWORDS = frozenset(
    {"SELECT", "TOP", "FROM", "WHERE", "GROUP", "BY", "AS"}
    | {"AND", "OR", "NOT", "IN", "NIN", "UNDEFINED"}
)


class WordKind(Enum):
    """What a word is. A name in double brackets is a name whatever it says."""

    NAME = auto()
    KEYWORD = auto()
    LITERAL = auto()
    SYMBOL = auto()
    END = auto()


@dataclass(frozen=True)
class Word:
    """One word. Keywords are in capitals; `text` says nothing of a literal's `value`."""

    kind: WordKind
    text: str
    at: int  # of its first character, counted from 1
    value: Json = None


def words_of(text: str) -> list[Word]:
    """All words and one END. Raises IotHubError 400 for characters that make none."""
    words: list[Word] = []
    end = 0
    while end < len(text):
        match = _WORD.match(text, end)
        if match is None:
            raise refused_query(f"no word of the language begins at character {end + 1}")
        if match.lastgroup != "space":
            words.append(_word(match))
        end = match.end()
    return [*words, Word(WordKind.END, "its end", end + 1)]


def refused_query(reason: str) -> IotHubError:
    """400. Azure says no more than `BadRequest`."""
    return IotHubError(ARGUMENT_INVALID, f"BadRequest: in the query, {reason}.")


def _word(match: re.Match[str]) -> Word:
    at = match.start() + 1
    text = match[match.lastgroup or 0]
    match match.lastgroup:
        case "string":
            return Word(WordKind.LITERAL, "a string", at, _ESCAPE.sub(_unescaped, text[1:-1]))
        case "number":
            return Word(WordKind.LITERAL, "a number", at, float(text))
        case "name" if text.upper() in _CONSTANTS:
            return Word(WordKind.LITERAL, text, at, _CONSTANTS[text.upper()])
        case "name" if text.upper() in _KEYWORDS:
            return Word(WordKind.KEYWORD, text.upper(), at)
        case "symbol":
            return Word(WordKind.SYMBOL, text, at)
        case _:
            return Word(WordKind.NAME, text, at)


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else match[2]
