"""What docs/rotation.md shows of the model check: states explored, and traces beside ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from tests.rotation.check import ENDED, LOCKED_OUT, Result
from tests.rotation.model import Kind, Model
from tests.rotation.rules import OURS, WRONG, Rule
from tests.rotation.state import GONE, Number, State

PAGE = Path(__file__).parents[2] / "docs" / "rotation.md"
BY_KIND = "by kind"
_IN_A_CELL = {None: "nothing", LOCKED_OUT: "lock-out", ENDED: "its own password ends"}
_PART = "<!-- made by `make model`: {name} -->\n{text}\n<!-- end -->"


@dataclass(frozen=True)
class Shown:
    """A state of a trace, with the letters of its passwords."""

    state: State
    letters: dict[int, str]
    happened: str

    def cells(self) -> tuple[str, str, str, str, str]:
        """Slots, Key Vault, twin, what the connected registry accepts, what the device uses."""
        azure = self.state.azure
        slots = " ".join(self._letter(p) or "·" for p in azure.slots)
        return (
            slots,
            self._letters(p for p, on in azure.stored if on),
            self._letter(azure.entry) or "·",
            self._letters(self.state.known),
            self._letter(self.state.held) or "·",
        )

    def _letter(self, password: Number) -> str:
        if password is None:
            return ""
        return "old" if password == GONE else self.letters[password]

    def _letters(self, passwords: Iterator[int] | frozenset[int]) -> str:
        return " ".join(sorted(map(self._letter, passwords))) or "·"


def play(model: Model, begin: State, kinds: tuple[Kind, ...]) -> Iterator[Shown | None]:
    """The states of a trace, the first one included; None for what cannot happen."""
    state, letters, made = begin, {0: "A"} if begin.ages else {}, len(begin.ages)
    yield Shown(state, letters, "")
    for kind in kinds:
        found = next((move for move in model.moves(state) if move.kind is kind), None)
        if found is None:
            yield None
            continue
        for number in range(len(state.ages), len(found.after.ages)):
            letters = {**letters, number: ascii_uppercase[made]}
            made += 1
        happened = kind.value
        if kind is Kind.WRITE and state.work is not None:
            happened = f"the worker {state.work.writes[0].kind.value}"
        state, numbers = model.renumbered(found.after)
        letters = {new: letters[old] for old, new in numbers.items()}
        yield Shown(state, letters, happened)


def trace(rule: Rule, model: Model, result: Result) -> str:
    """The shortest trace to the fault of a wrong rule, beside the same under our rule."""
    if result.begin is None:
        raise AssertionError(f"{rule.says}: nothing was found")
    theirs = play(model, result.begin, result.trace)
    ours = play(Model.make(steps=2), result.begin, result.trace)
    columns = "slots | Key Vault | twin | site | device"
    rows = [f"| {rule.says.capitalize()} | {columns} | firstpull: {columns} |", "|---" * 11 + "|"]
    for number, (bad, good) in enumerate(zip(theirs, ours, strict=True)):
        if bad is None:
            raise AssertionError("a trace of its own rule")
        happened = f"{number}. {bad.happened}" if number else "at first"
        cells = good.cells() if good is not None else ("does not happen", "", "", "", "")
        rows.append("| " + " | ".join((happened, *bad.cells(), *cells)) + " |")
    return "\n".join(rows)


def explored(rule: Rule, result: Result) -> str:
    """How much was explored for a rule, in words."""
    found = result.fault or "no state breaks a rule"
    return (
        f"{rule.says.capitalize()}: {result.states:,} states, {result.transitions:,} transitions; "
        f"{found}."
    )


def parts_of_result(rule: Rule, model: Model, result: Result) -> Iterator[tuple[str, str]]:
    """The parts of the page that a rule makes, by name."""
    text = explored(rule, result)
    if result.begin is not None:
        text += "\n\n" + trace(rule, model, result)
    yield rule.says, text


def in_a_row(result: Result) -> str:
    """The same in a cell of the table of delivery kinds."""
    found = _IN_A_CELL.get(result.fault, result.fault)
    return f"{found}; {result.states:,} states, {result.transitions:,} transitions"


def kinds_table(rows: Mapping[str, Sequence[str]]) -> str:
    """A row of cells for each delivery kind, a column for each rule."""
    head = f"| Kind | {' | '.join(rule.says for rule in ALL)} |"
    lines = [head, "|---" * (len(ALL) + 1) + "|"]
    return "\n".join(
        (*lines, *(f"| {kind} | {' | '.join(cells)} |" for kind, cells in rows.items()))
    )


def part_in(page: str, name: str) -> str:
    """What the page has between the marks of a part. Raises AssertionError without them."""
    pattern = re.escape(_PART).replace(r"\{name\}", re.escape(name)).replace(r"\{text\}", "(.*?)")
    found = re.search(pattern, page, re.DOTALL)
    if found is None:
        raise AssertionError(f"{PAGE.name} has no part {name}")
    return found[1]


def with_part(page: str, name: str, text: str) -> str:
    """The page with another text between the marks of a part."""
    before = _PART.format(name=name, text=part_in(page, name))
    return page.replace(before, _PART.format(name=name, text=text))


ALL = (OURS, *WRONG)
