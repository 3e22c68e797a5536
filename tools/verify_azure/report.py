"""The results of a run, as JSON and as a page, without ids of the subscription."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.verify_azure.plan import Run

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step, how long it took, what it measured besides, and what is not as it should be."""

    title: str
    seconds: float
    measured: dict[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An answer of Azure that is not as the contract says. `problems` may hold parts of it."""

    id: str
    says: str
    basis: str
    source: str
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A service, with the number of its answers that have a request; why it was not asked."""

    service: str
    answers: int
    differences: tuple[Difference, ...] = ()
    not_asked: str | None = None


@dataclass(kw_only=True)
class Report:
    """What a run found. `failure` is why it did not come to its end."""

    run: Run
    preparation: list[Step] = field(default_factory=list)
    contract: Sequence[Asked] = ()
    lifetime: Sequence[Step] = ()
    removal: Step | None = None
    failure: str | None = None

    @property
    def is_clean(self) -> bool:
        """Whether everything was asked and is as this project says."""
        steps = [*self.preparation, *self.lifetime, *([self.removal] if self.removal else [])]
        return (
            self.failure is None
            and bool(self.lifetime)
            and not any(step.problems for step in steps)
            and not any(each.differences for each in self.contract)
        )

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `<date>.json` and `<date>.md`; returns their paths. Overwrites those of the day."""
        folder.mkdir(parents=True, exist_ok=True)
        date = self.run.started[:10]
        data, page = folder / f"{date}.json", folder / f"{date}.md"
        data.write_text(_without_ids(json.dumps(self._document(), indent=2), self.run) + "\n")
        page.write_text(_without_ids("\n".join(self._page()), self.run) + "\n")
        return data, page

    def _document(self) -> dict[str, object]:
        return {
            "date": self.run.started,
            "endpoint": self.run.endpoint,
            "region": self.run.region,
            "failure": self.failure,
            "preparation": [asdict(step) for step in self.preparation],
            "contract": [asdict(each) for each in self.contract],
            "lifetime": [asdict(step) for step in self.lifetime],
            "removal": asdict(self.removal) if self.removal else None,
        }

    def _page(self) -> Iterator[str]:
        yield f"# Azure on {self.run.started[:10]}"
        yield ""
        yield f"`make verify-azure`, {self.run.started}, {self.run.region}, {self.run.endpoint}."
        if self.failure is not None:
            yield ""
            yield f"**It did not come to its end**: {self.failure}"
        yield ""
        yield "## The contract"
        yield ""
        if not self.contract:
            yield "Not asked."
        for each in self.contract:
            what = each.not_asked or f"{each.answers} answers, {len(each.differences)} differ"
            yield f"- {each.service}: {what}"
        yield ""
        for each in self.contract:
            for difference in each.differences:
                yield f"### `{difference.id}` ({difference.basis})"
                yield ""
                yield difference.says + (f" Source: {difference.source}" * bool(difference.source))
                yield ""
                yield from (f"- Azure: {problem}" for problem in difference.problems)
                yield ""
        yield "## One device"
        yield ""
        yield from _table(self.lifetime)
        yield ""
        yield "## Time"
        yield ""
        yield from _table([*self.preparation, *([self.removal] if self.removal else [])])


def _table(steps: Sequence[Step]) -> Iterator[str]:
    if not steps:
        yield "Nothing was done."
        return
    yield "| Step | Seconds | Measured | Not as it should be |"
    yield "|---|---|---|---|"
    for step in steps:
        measured = "; ".join(f"{what}: {value:.1f} s" for what, value in step.measured.items())
        problems = "; ".join(step.problems)
        yield f"| {step.title} | {step.seconds:.1f} | {measured} | {problems} |"


def _without_ids(text: str, run: Run) -> str:
    """The text without the names of the run, and the ids that Azure's answers may have."""
    return _UUID.sub("ID", text.replace(run.name, "NAME").replace(run.id, "RUN"))
