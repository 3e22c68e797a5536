"""Doing what a plan says where access is taken away, in the order of the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from firstpull.actions import (
    Action,
    DeleteToken,
    DisableSecretVersion,
    DisableToken,
    LeaveConnectedRegistry,
    WithdrawFromTwin,
)
from firstpull.apply import Guard
from firstpull.delivery import withdrawal_patch
from firstpull.errors import FirstpullError
from firstpull.history import Journal
from firstpull.membership import REQUEST_DEADLINE, Membership
from firstpull.observation import Observed
from firstpull.policy import Policy
from firstpull.ports import ContainerRegistries, Hubs, Secrets


@dataclass(frozen=True, kw_only=True)
class Withdrawer:
    """Carries out the actions that take access away."""

    policy: Policy
    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    membership: Membership

    async def apply(
        self, actions: Sequence[Action], observed: Observed, *, guard: Guard, journal: Journal
    ) -> None:
        """Steps 4 to 8 of a withdrawal (see `converge`).

        What fails holds up nothing but the deletion of a token that stands in a list still; the
        first error is raised at the end. What was taken away stays away.
        """
        errors: list[FirstpullError] = []
        is_client = False
        for action in actions:
            if isinstance(action, DeleteToken) and is_client:
                continue
            try:
                await self._do(action, observed, guard=guard, journal=journal)
            except FirstpullError as error:
                errors.append(error)
                is_client = is_client or isinstance(action, LeaveConnectedRegistry)
        if errors:
            raise errors[0]

    async def _do(
        self, action: Action, observed: Observed, *, guard: Guard, journal: Journal
    ) -> None:
        guard.check()
        match action:
            case DisableToken():
                await self.registries.disable_token(
                    action.registry, action.name, deadline_seconds=REQUEST_DEADLINE
                )
                journal.note("device.token.disabled", token=action.name)
            case LeaveConnectedRegistry():
                await self._leave(action)
                journal.note("device.membership.left", place=str(action.place))
            case WithdrawFromTwin() if observed.twin is not None:
                await self.hubs.patch_desired(
                    observed.record.device,
                    withdrawal_patch(action.connected_registries),
                    etag=observed.twin.etag,
                    deadline_seconds=REQUEST_DEADLINE,
                )
                places = ", ".join(action.connected_registries)
                journal.note("device.credential.withdrawn", places=places)
            case DisableSecretVersion():
                await self.secrets.disable(action.secret, action.version)
                journal.note("device.secret.disabled", version=action.version)
            case DeleteToken():
                await self.registries.delete_token(
                    action.registry, action.name, deadline_seconds=REQUEST_DEADLINE
                )
                journal.note("device.token.deleted", token=action.name)

    async def _leave(self, action: LeaveConnectedRegistry) -> None:
        entry = self.policy.entry_for(action.place)
        await self.membership.leave(
            action.place,
            self.registries.token_id(action.place.registry, action.token),
            capacity=entry.capacity if entry is not None else None,
        )
