"""Carries out a teardown, in the plan's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from firstpull.membership import REQUEST_DEADLINE, Membership
from firstpull.model.delivery_kinds import kind_named
from firstpull.model.errors import FirstpullError
from firstpull.model.history import Journal
from firstpull.model.ports import ContainerRegistries, Hubs, Secrets
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.actions import (
    DeleteToken,
    DisableSecretVersion,
    DisableToken,
    KeepPasswords,
    LeaveConnectedRegistry,
    RemoveFromTwin,
    SideBySide,
    TagSecret,
    TeardownAction,
    lanes_of,
)
from firstpull.reconcile.apply import run_lanes, tag_secret
from firstpull.reconcile.claim import Guard


@dataclass(frozen=True, kw_only=True)
class TeardownApplier:
    """Carries out the actions of teardowns."""

    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    membership: Membership

    async def apply(
        self,
        steps: Sequence[TeardownAction | SideBySide[TeardownAction]],
        *,
        guard: Guard,
        journal: Journal,
    ) -> None:
        """Carry out the steps; raises the first error at the end.

        After an error the other actions go on, except the deletion of a token that may still be
        listed. Completed actions stay done.
        """
        failed: list[tuple[TeardownAction, FirstpullError]] = []

        async def do_all(lane: Sequence[TeardownAction]) -> None:
            for action in lane:
                is_client = any(isinstance(each, LeaveConnectedRegistry) for each, _ in failed)
                if isinstance(action, DeleteToken) and is_client:
                    continue
                try:
                    await self._do(action, guard=guard, journal=journal)
                except FirstpullError as error:
                    failed.append((action, error))

        for step in steps:
            await run_lanes(*(do_all(lane) for lane in lanes_of(step)))
        if failed:
            raise failed[0][1]

    async def _do(self, action: TeardownAction, *, guard: Guard, journal: Journal) -> None:
        guard.check()
        match action:
            case DisableToken():
                with journal.noting(LogEvent.DEVICE_TOKEN_DISABLED, token=action.name):
                    await self.registries.disable_token(
                        action.registry, action.name, deadline_seconds=REQUEST_DEADLINE
                    )
            case KeepPasswords():
                with journal.noting(LogEvent.DEVICE_PASSWORDS_REMOVED, token=action.name):
                    await self.registries.keep_passwords(
                        action.registry,
                        action.name,
                        slots=action.slots,
                        deadline_seconds=REQUEST_DEADLINE,
                    )
            case LeaveConnectedRegistry():
                await self.membership.leave(action.ref, action.token_id, capacity=action.capacity)
                journal.note(LogEvent.DEVICE_MEMBERSHIP_LEFT, connected_registry=str(action.ref))
            case RemoveFromTwin():
                kind = kind_named(action.delivery)
                await self.hubs.patch_desired(
                    journal.device,
                    kind.removal(action.keys),
                    etag=action.twin_etag,
                    deadline_seconds=REQUEST_DEADLINE,
                    module=kind.module,
                )
                names = ", ".join(action.connected_registries)
                journal.note(LogEvent.DEVICE_CREDENTIAL_REMOVED, connected_registries=names)
            case DisableSecretVersion():
                await self.secrets.disable(action.secret, action.version)
                journal.note(LogEvent.DEVICE_SECRET_DISABLED, version=action.version)
            case TagSecret():
                await tag_secret(self.secrets, action, journal=journal)
            case DeleteToken():
                with journal.noting(LogEvent.DEVICE_TOKEN_DELETED, token=action.name):
                    await self.registries.delete_token(
                        action.registry, action.name, deadline_seconds=REQUEST_DEADLINE
                    )
            case _:
                assert_never(action)
