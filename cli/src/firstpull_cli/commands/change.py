"""Commands for single devices: rotate, move, revoke, adopt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from firstpull_cli.commands.common import (
    AsJson,
    DryRun,
    Hub,
    ProfileName,
    Timeout,
    Wait,
    Yes,
    confirm,
    open_api,
)
from firstpull_cli.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firstpull_cli.api import Api, Document, Filters
    from firstpull_cli.changing import Request
    from firstpull_cli.many import Selection
    from firstpull_cli.onboarding import Work

DeviceId = Annotated[str, typer.Argument(metavar="ID")]
DeviceIds = Annotated[list[str] | None, typer.Argument(metavar="ID", show_default=False)]
File = Annotated[
    str | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="Those of a CSV, of JSON lines, or an id on each line; - is standard input.",
    ),
]
State = Annotated[str | None, typer.Option(metavar="STATE,…", help="All devices in these states.")]
Reason = Annotated[str | None, typer.Option(metavar="NAME", help="All devices of this reason.")]
ConnectedRegistry = Annotated[
    str | None,
    typer.Option(
        "--connected-registry", "-c", metavar="NAME", help="All devices of a connected registry."
    ),
]
_SECONDS = 300.0
_FEW = 10
"""So many ids are asked about one by one, which says more of each."""


def rotate(
    device_ids: DeviceIds = None,
    *,
    file: File = None,
    state: State = None,
    reason: Reason = None,
    connected_registry: ConnectedRegistry = None,
    immediately: Annotated[
        bool,
        typer.Option("--immediately", help="End the present password at once, after a leak."),
    ] = False,
    hub: Hub = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = _SECONDS,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Replace the passwords of devices.

    Say which by ids, by a file, or by filters: all that they find.

    The old one ends when the device has logged in with the new one. With --immediately it ends
    first, and the device has no access until its site has synced.
    """
    from firstpull_cli import changing

    seconds = timeout if wait else None
    filters = {"state": state, "reason": reason, "connectedRegistry": connected_registry}
    with open_api(profile) as api:
        if selected := _selected_many(device_ids, file, filters, hub=hub):
            from firstpull_cli import many

            work = many.rotate(immediately=immediately)
            _do_many(api, selected, work, yes=yes, dry_run=dry_run, seconds=seconds, json=as_json)
            return
        asked = [changing.rotate(one, hub=hub, immediately=immediately) for one in device_ids or ()]
        _do(api, asked, dry_run=dry_run, seconds=seconds, as_json=as_json)


def move(
    device_id: DeviceId,
    *,
    to: Annotated[
        str | None, typer.Option(metavar="NAME", help="The connected registry to move to.")
    ] = None,
    site: Annotated[str | None, typer.Option(metavar="NAME", help="The site to move to.")] = None,
    container_registry: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where several have one of this name.")
    ] = None,
    hub: Hub = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = _SECONDS,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Move a device to another connected registry or site.

    It keeps its repositories and actions, and what it has now until it has logged in at the new
    place.
    """
    from firstpull_cli import changing, one_device

    target = _target(to, site, container_registry, option="--to")
    with open_api(profile) as api:
        asked = [changing.move(one_device.find(api, device_id, hub=hub), target)]
        _do(api, asked, dry_run=dry_run, seconds=timeout if wait else None, as_json=as_json)


def revoke(
    device_ids: DeviceIds = None,
    *,
    file: File = None,
    state: State = None,
    reason: Reason = None,
    connected_registry: ConnectedRegistry = None,
    hub: Hub = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = _SECONDS,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Take the access of devices away: shows what will go, and asks.

    Say which by ids, by a file, or by filters: all that they find. Beyond the limit of an hour
    devices are refused; `firstpull revokes` says more.

    Azure refuses the login at once; the site accepts it until its next sync.
    """
    from firstpull_cli import changing

    seconds = timeout if wait else None
    filters = {"state": state, "reason": reason, "connectedRegistry": connected_registry}
    with open_api(profile) as api:
        if selected := _selected_many(device_ids, file, filters, hub=hub):
            from firstpull_cli import many

            _do_many(
                api, selected, many.REVOKE, yes=yes, dry_run=dry_run, seconds=seconds, json=as_json
            )
            return
        asked = [changing.revoke(one, hub=hub) for one in device_ids or ()]
        if not (yes or dry_run):
            planned = changing.plans(api, asked)
            changing.show_plans(planned)
            if status := changing.status_of(planned):
                raise typer.Exit(status)
            named = asked[0].device_id if len(asked) == 1 else f"these {len(asked)} devices"
            where = f"{api.profile.url} ({api.profile.name})"
            confirm(f"Revoke {named} at {where}?", yes=yes)
        _do(api, asked, dry_run=dry_run, seconds=seconds, as_json=as_json)


def adopt(
    device_id: DeviceId,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token that it has.")],
    *,
    connected_registry: Annotated[
        str | None, typer.Option("--connected-registry", "-c", metavar="NAME")
    ] = None,
    site: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    repository: Annotated[
        list[str], typer.Option("--repository", "-r", metavar="NAME", help="Repeatable.")
    ],
    container_registry: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where several have one of this name.")
    ] = None,
    hub: Hub = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = _SECONDS,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Onboard a device with a token that was made by hand.

    The device keeps its password; `adoptableTokens` of the policy has to allow the token. For many
    devices, `onboard` has a column adopt.
    """
    from firstpull_cli import changing

    target = _target(connected_registry, site, container_registry, option="--connected-registry")
    document = {"deviceId": device_id, "adopt": token, "repositories": repository, **target}
    if hub is not None:
        document["hub"] = hub
    with open_api(profile) as api:
        asked = [changing.onboard(document)]
        _do(api, asked, dry_run=dry_run, seconds=timeout if wait else None, as_json=as_json)


def _target(
    connected_registry: str | None, site: str | None, container_registry: str | None, *, option: str
) -> Document:
    from firstpull_cli.errors import CliError, Exit

    if (connected_registry is None) == (site is None):
        raise CliError(
            f"give either {option} or --site",
            advice="`firstpull sites` lists both.",
            status=Exit.USAGE,
        )
    target = {
        "connectedRegistry": connected_registry,
        "site": site,
        "containerRegistry": container_registry,
    }
    return {name: value for name, value in target.items() if value is not None}


def _selected_many(
    device_ids: list[str] | None, file: str | None, filters: Filters, *, hub: str | None
) -> Selection | None:
    """The devices that go in batches; also where none is named, which is refused there."""
    few = device_ids is not None and len(device_ids) <= _FEW
    if few and file is None and not any(filters.values()):
        return None
    from firstpull_cli import many

    return many.Selection(device_ids=device_ids or (), file=file, filters=filters, hub=hub)


def _do_many(
    api: Api,
    selected: Selection,
    work: Work,
    *,
    yes: bool,
    dry_run: bool,
    seconds: float | None,
    json: bool,
) -> None:
    """Plan work on many devices or carry it out after a question, and show what comes of it."""
    from firstpull_cli import many, onboarding, output

    rows = selected.rows(api)
    late = False
    if dry_run or not yes:
        outcomes = many.plan(api, rows, work=work)
        if not json:
            many.show_plan(outcomes, work=work)
    if not dry_run:
        where = f"{api.profile.url} ({api.profile.name})"
        confirm(f"{work.name.capitalize()} these {len(rows)} devices at {where}?", yes=yes)
        outcomes, late = many.carry_out(api, rows, work=work, seconds=seconds)
        if not json:
            onboarding.show(outcomes, waited=seconds is not None, done=work.done)
    if json:
        output.write_json(onboarding.as_json(outcomes))
    if any(one.is_refused or one.state == "Blocked" for one in outcomes):
        raise typer.Exit(Exit.FAILED)
    if late:
        raise typer.Exit(Exit.TIMED_OUT)


def _do(
    api: Api, asked: Sequence[Request], *, dry_run: bool, seconds: float | None, as_json: bool
) -> None:
    """Plan requests or carry them out, and show what comes of it."""
    from firstpull_cli import changing, output

    if dry_run:
        results, show = changing.plans(api, asked), changing.show_plans
    else:
        results, show = changing.carry_out(api, asked, seconds=seconds), changing.show_results
    if as_json:
        output.write_json([one.as_json() for one in results])
    else:
        show(results)
    if status := changing.status_of(results):
        raise typer.Exit(status)
