"""Which secrets have to name the latest request in their tags: pure decisions.

By the tags a pass recognises a record that was restored from a backup, and a lost record is made
again (firstpull/model/last_request.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from firstpull.model.azure_resources import ConnectedRegistryRef, SecretVersion
from firstpull.model.device_record import Grant
from firstpull.model.last_request import (
    last_request,
    latest,
    merged,
    request_tags,
    says_the_same,
)
from firstpull.model.naming import Names
from firstpull.model.password_slots import (
    names_another_address,
    owner_tags,
    token_of,
    with_address,
)
from firstpull.reconcile.actions import TagSecret
from firstpull.reconcile.observe import GrantView, Observed

_WHY = "the tags of the secret name an earlier request"


def tags_of_change(
    observed: Observed,
    here: Grant,
    versions: Collection[SecretVersion],
    *,
    is_adopted: bool,
    fills_own: bool,
) -> Iterator[TagSecret]:
    """The secrets of a device whose change is being carried out. `versions` are those of its own.

    A new password, with which the plan `fills_own`, is stored with its tags. An adopted token
    without a password of firstpull gets a version that has tags alone.
    """
    if observed.record.status.observed_generation == observed.record.spec.generation:
        return
    if not fills_own:
        yield from _tagged(observed, here.names, versions, ref=here.ref, adds=is_adopted)
    for view in observed.retiring:
        if view.grant.names.secret != here.names.secret:
            yield from _tagged(observed, view.grant.names, view.secrets, ref=here.ref, adds=False)


def with_addresses(
    planned: Iterable[TagSecret],
    secret: str,
    versions: Collection[SecretVersion],
    *,
    current: str | None,
    address: str,
) -> Iterator[TagSecret]:
    """The planned tags, and the address in those of the version `current`, where it has changed."""
    found = next((version for version in versions if version.version == current), None)
    moved = found if found is not None and names_another_address(found, address) else None
    for action in planned:
        if moved is None or (action.secret, action.version) != (secret, moved.version):
            yield action
            continue
        yield replace(action, tags=tuple(sorted(with_address(dict(action.tags), address).items())))
        moved = None
    if moved is not None:
        yield TagSecret(
            secret=secret,
            version=moved.version,
            tags=tuple(sorted(with_address(moved.tags, address).items())),
            why="the tags of the secret name an earlier address",
        )


def tags_of_teardown(observed: Observed, ending: Collection[GrantView]) -> Iterator[TagSecret]:
    """The secrets of grants that end at once; after a revoke at least one says so."""
    record, own = observed.record, observed.record.status.grant
    found = {view.grant.names.secret: (view.grant.names, view.secrets) for view in ending}
    if record.spec.revocation is not None:
        parts = observed.found.traces
        if not found:  # nothing was made yet, or an earlier revoke has ended all of it
            stored = [part for part in parts if part.versions] or parts[:1]
            found = {p.names.secret: (replace(p.names, token=""), p.versions) for p in stored}
        is_none = not any(observed.made_here(versions) for _, versions in found.values())
        adds = is_none and not observed.unread
        for names, versions in found.values():
            yield from _tagged(observed, names, versions, ref=None, adds=adds)
            adds = False
        return
    for names, versions in found.values():
        last = last_request(observed.made_here(versions))
        is_old = last is not None and last.at < record.requested_at
        if is_old and (own is None or own.names.secret != names.secret):
            yield from _tagged(observed, names, versions, ref=None, adds=False)


def _tagged(
    observed: Observed,
    names: Names,
    versions: Collection[SecretVersion],
    *,
    ref: ConnectedRegistryRef | None,
    adds: bool,
) -> Iterator[TagSecret]:
    """The tags of one secret; `adds` a version where none names the token yet."""
    record, made = observed.record, observed.made_here(versions)
    if adds:
        made = [version for version in made if token_of(version) == names.token]
    tags = request_tags(record, ref=ref, identity=observed.hub_generation_id)
    version = latest(made)
    if says_the_same(made, tags, record) or (version is None and not adds):
        return
    owner = owner_tags(record.device, deployment=observed.deployment, token=names.token)
    yield TagSecret(
        secret=names.secret,
        version=version.version if version is not None else None,
        tags=merged(version.tags if version is not None else owner, tags),
        why=_WHY,
    )
