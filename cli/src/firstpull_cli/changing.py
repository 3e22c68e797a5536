"""Requests about single devices: what they would do, sending them, and their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from rich.text import Text

from firstpull_cli import one_device, output
from firstpull_cli.api import Answer, Api, Document, Filters, device_path
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.waiting import wait_for_request

_STOPS_ALL = (Exit.DENIED, Exit.UNAVAILABLE, Exit.USAGE)
"""Failures that every further device would meet too."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request about a device, as the API takes it."""

    device_id: str
    method: str
    path: str
    query: Filters = field(default_factory=dict)
    body: Document | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a request: the device afterwards, its plan, or an error."""

    device_id: str
    document: Document | None = None
    error: CliError | None = None

    def as_json(self) -> Document:
        """For a script."""
        if self.error is not None:
            return {"deviceId": self.device_id, "error": self.error.message}
        return self.document or {}


def revoke(device_id: str, *, hub: str | None) -> Request:
    """Take a device's access away."""
    path, query = device_path(device_id)
    return Request(device_id=device_id, method="DELETE", path=path, query={**query, "hub": hub})


def rotate(device_id: str, *, hub: str | None, immediately: bool) -> Request:
    """Replace a device's password."""
    path, query = device_path(device_id, then="rotate")
    return Request(
        device_id=device_id,
        method="POST",
        path=path,
        query={**query, "hub": hub},
        body={"immediately": True} if immediately else None,
    )


def move(device: Document, target: Document) -> Request:
    """Have a device at another target, with the rest of its request as it is now.

    Raises CliError where its sealing key was lost: without it, its password would come in plain.
    """
    path, query = device_path(device["deviceId"])
    wants = device["wants"]
    if wants.get("sealedTo") and not wants.get("sealingKey"):
        raise CliError(
            f"The sealing key of {device['deviceId']} was lost with its record.",
            advice="Onboard it at the target with the key that `firstpull-agent key` prints.",
        )
    names = ("repositories", "actions", "delivery", "deliveryOptions", "sealingKey")
    kept = {name: wants[name] for name in names if name in wants}
    return Request(
        device_id=device["deviceId"],
        method="PUT",
        path=path,
        query=query,
        body={**kept, **target, "hub": device["hub"]},
    )


def onboard(document: Document) -> Request:
    """Onboard one device."""
    return Request(device_id=document["deviceId"], method="POST", path="devices", body=document)


def plans(api: Api, requests: Sequence[Request]) -> list[Result]:
    """What requests would do. Raises CliError for what concerns all of them."""
    return [_result(request.device_id, partial(_planned, api, request)) for request in requests]


def carry_out(api: Api, requests: Sequence[Request], *, seconds: float | None) -> list[Result]:
    """The devices after their requests; with `seconds`, after the end of each.

    One device's refusal stops no other. Raises CliError for what concerns all of them.
    """
    answers: dict[str, Answer] = {}

    def sent(request: Request) -> Document:
        answers[request.device_id] = send(api, request)
        return answers[request.device_id].document

    def ended(device_id: str, *, seconds: float) -> Document:
        answer = answers[device_id]
        wait_for_request(api, answer, seconds=seconds)
        return one_device.find(api, device_id, hub=answer.document["hub"])

    results = [_result(request.device_id, partial(sent, request)) for request in requests]
    if seconds is None:
        return results
    return [
        _result(one.device_id, partial(ended, one.device_id, seconds=seconds))
        if one.error is None
        else one
        for one in results
    ]


def send(api: Api, request: Request, *, dry_run: bool = False) -> Answer:
    """The answer to a request. Raises CliError."""
    query = {**request.query, "dryRun": "true" if dry_run else None}
    return api.send(request.method, request.path, query=query, body=request.body)


def show_plans(results: Sequence[Result]) -> None:
    """Write plans for a person."""
    console = output.console()
    for plan in _documents(results):
        console.print(Text(output.clean(plan["deviceId"]), style="bold"))
        for number, action in enumerate(plan["actions"], start=1):
            line = Text.assemble(f"  {number:2}. ", (action["action"], "cyan"))
            line.append(f"  {output.clean(_applied_to(action))}  ")
            line.append(output.clean(action["why"]), style="dim")
            console.print(line)
        if finding := plan.get("finding"):
            says = f"  {finding['state']}: {finding['reason']}: {finding['message']}"
            console.print(Text(output.clean(says), style="bold red"))
            if remedy := finding.get("remedy"):
                console.print(Text(f"  → {output.clean(remedy)}", style="yellow"))
        elif not plan["actions"]:
            console.print("  nothing to do")


def show_results(results: Sequence[Result]) -> None:
    """Write what became of requests, a line for each device."""
    console = output.console()
    for device in _documents(results):
        line = Text.assemble(output.clean(device["deviceId"]), "  ")
        line.append(output.state_cell(device["state"]))
        condition = device["condition"]
        line.append(output.clean(f"  {condition['reason']}: {condition['message']}"))
        console.print(line)


def status_of(results: Sequence[Result]) -> Exit:
    """The exit status: the error's of a single request, else whether any failed."""
    errors = [result.error for result in results if result.error is not None]
    if not errors:
        return Exit.OK
    return errors[0].status if len(results) == 1 else Exit.FAILED


def _planned(api: Api, request: Request) -> Document:
    return send(api, request, dry_run=True).document


def _result(device_id: str, work: Callable[[], Document]) -> Result:
    try:
        return Result(device_id=device_id, document=work())
    except CliError as error:
        if error.status in _STOPS_ALL:
            raise
        return Result(device_id=device_id, error=error)


def _applied_to(action: Document) -> str:
    named = (value for name, value in action.items() if name not in ("action", "why"))
    return " ".join(", ".join(value) if isinstance(value, list) else f"{value}" for value in named)


def _documents(results: Sequence[Result]) -> Iterator[Document]:
    """The documents, in their order; each error is written in its place."""
    for result in results:
        if result.document is not None:
            yield result.document
        elif result.error is not None:
            output.note(f"{result.device_id}: {result.error.message}\n  → {result.error.advice}")
