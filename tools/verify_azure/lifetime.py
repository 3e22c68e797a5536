"""One device, from its onboarding over a rotation to its revoke, by firstpull's own core.

No connected registry is deployed. So nothing is pulled, the rotation is an immediate one (another
would wait for a login at the site), and the cloud registry says which passwords count.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from azure.core.credentials import TokenCredential

from firstpull.bootstrap import Application, Ports, connect, wire
from firstpull.config.settings import Settings
from firstpull.intake.requests import read_request
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import FirstpullError
from firstpull.model.twin_entry import section_of
from tools.verify_azure.create import Made
from tools.verify_azure.hub import desired_properties, register_device
from tools.verify_azure.plan import CONNECTED_REGISTRY, REPOSITORY, Run
from tools.verify_azure.report import Step
from tools.verify_azure.rest import Arm, Rest

DEVICE = "gateway-1"
_REQUESTED_BY = "verify-azure"
_SETTLE_SECONDS = 15 * 60
_LOGIN_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_AFTER_A_FAILURE = 5.0
_CONNECT_TRIES = 12


async def run_lifetime(
    run: Run, made: Made, arm: Arm, credential: TokenCredential, *, say: Callable[[str], None]
) -> tuple[Step, ...]:
    """The three steps; those after a failed one are left out. Times are in seconds."""
    async with _firstpull(run, made) as application:
        device = DeviceKey(hub=made.hub_host.lower(), device_id=DEVICE)
        lifetime = _Lifetime(made, arm, credential, application, device)
        done: list[Step] = []
        for title, step in (
            ("onboarding", lifetime.onboard),
            ("rotation", lifetime.rotate),
            ("revoke", lifetime.revoke),
        ):
            say(f"A device: {title}")
            done.append(await _timed(title, step))
            if done[-1].problems:
                break
        return tuple(done)


@dataclass(frozen=True)
class _Login:
    username: str
    password: str = field(repr=False)


class _Failed(Exception):
    """A step that did not come to its end."""


class _Lifetime:
    def __init__(
        self,
        made: Made,
        arm: Arm,
        credential: TokenCredential,
        application: Application,
        device: DeviceKey,
    ) -> None:
        self._made = made
        self._arm = arm
        self._credential = credential
        self._application = application
        self._device = device
        self._registry = Rest(f"https://{made.login_server}")
        self._login: _Login | None = None
        self._last: DeviceRecord | None = None

    async def onboard(self) -> tuple[dict[str, float], list[str]]:
        """The twin gets a credential with which the container registry lets log in."""
        await asyncio.to_thread(register_device, self._made, self._credential, DEVICE)
        body = {
            "deviceId": DEVICE,
            "connectedRegistry": CONNECTED_REGISTRY,
            "repositories": [REPOSITORY],
        }
        request = read_request(json.dumps(body).encode())
        await self._application.onboarding.ask(request, requested_by=_REQUESTED_BY)
        record = self._last = await self._settle()
        problems = [] if record.status.condition.state is State.DELIVERED else [_condition(record)]
        login = self._login = await self._delivered()
        if login is None:
            return {}, [*problems, "the twin has no credential"]
        problems += await self._observed(record, exists=True)
        return {"until the login": await self._until_login(login, accepted=True)}, problems

    async def rotate(self) -> tuple[dict[str, float], list[str]]:
        """Another password is in the twin, and the earlier one no longer counts."""
        before = self._login
        if before is None:
            return {}, ["nothing is delivered"]
        async with self._refusal_of(before) as refused:
            await self._application.rotating.rotate(
                self._device, immediately=True, requested_by=_REQUESTED_BY
            )
            record = self._last = await self._settle()
            after = self._login = await self._delivered()
            if after is None:
                return {}, ["the twin has no credential"]
            accepted = await self._until_login(after, accepted=True)
            problems = await self._observed(record, exists=True)
            return {
                "until the login with the new password": accepted,
                "until the old password is refused": await refused,
            }, problems

    async def revoke(self) -> tuple[dict[str, float], list[str]]:
        """Nothing is left of the device, and its password no longer counts."""
        before, login = self._last, self._login
        if before is None or login is None:
            return {}, ["nothing is delivered"]
        async with self._refusal_of(login) as refused:
            await self._application.revoking.revoke(self._device, requested_by=_REQUESTED_BY)
            await self._settle()
            problems = await self._observed(before, exists=False)
            if await self._delivered() is not None:
                problems.append("the twin still has a credential")
            return {"until the password is refused": await refused}, problems

    @asynccontextmanager
    async def _refusal_of(self, login: _Login) -> AsyncIterator[asyncio.Task[float]]:
        """Seconds from now until the container registry refuses a login."""
        waiting = asyncio.create_task(self._until_login(login, accepted=False))
        try:
            yield waiting
        finally:
            waiting.cancel()

    async def _settle(self) -> DeviceRecord:
        """Reconcile the device whenever it is due, until its generation is done."""
        ports, give_up = self._application.ports, time.monotonic() + _SETTLE_SECONDS
        while True:
            try:
                await self._application.worker.reconcile(self._device)
            except FirstpullError:
                await asyncio.sleep(_AFTER_A_FAILURE)  # as its queue would deliver it again
            stored = await ports.records.get(self._device)
            if stored is None:
                raise _Failed("the record is gone")
            if stored.value.is_converged:
                return stored.value
            if time.monotonic() > give_up:
                raise _Failed(f"not done after {_SETTLE_SECONDS} s: {_condition(stored.value)}")
            due_in = (stored.value.schedule.due_at - ports.clock.now()).total_seconds()
            await asyncio.sleep(min(max(due_in, 0.0), _LONGEST_PAUSE))

    async def _delivered(self) -> _Login | None:
        """The login in the twin."""
        desired = await asyncio.to_thread(desired_properties, self._made, self._credential, DEVICE)
        entry = section_of(desired, CONNECTED_REGISTRY)
        if not entry.get("password"):
            return None
        return _Login(str(entry["username"]), str(entry["password"]))

    async def _observed(self, record: DeviceRecord, *, exists: bool) -> list[str]:
        """What token, list and secret have other than they should."""
        ports, grant = self._application.ports, record.status.grant
        if grant is None:
            return ["the record names no token"]
        token = await ports.registries.get_token(grant.ref.registry, grant.names.token)
        connected = await ports.registries.get_connected_registry(grant.ref)
        versions = await ports.secrets.versions(grant.names.secret)
        found = {
            "the token exists": token is not None,
            "the list of clients has the token": connected is not None
            and connected.lists(grant.token_id),
            "a version of the secret is enabled": any(version.enabled for version in versions),
        }
        return [f"{what}: {is_so}" for what, is_so in found.items() if is_so != exists]

    async def _until_login(self, login: _Login, *, accepted: bool) -> float:
        """Seconds until the container registry accepts a login, or refuses it."""
        start = time.monotonic()
        while await asyncio.to_thread(self._accepts, login) != accepted:
            if time.monotonic() - start > _SETTLE_SECONDS:
                wanted = "accepted" if accepted else "refused"
                raise _Failed(f"after {_SETTLE_SECONDS} s the login is not {wanted}")
            await asyncio.sleep(_LOGIN_PAUSE)
        return time.monotonic() - start

    def _accepts(self, login: _Login) -> bool:
        text = f"{login.username}:{login.password}"
        answer = self._registry.send(
            "GET",
            "/oauth2/token",
            query={
                "service": self._made.login_server,
                "scope": f"repository:{REPOSITORY}:pull",
            },
            headers={"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"},
        )
        return answer.status == 200


async def _timed(
    title: str, step: Callable[[], Awaitable[tuple[dict[str, float], list[str]]]]
) -> Step:
    start = time.monotonic()
    measured: dict[str, float] = {}
    problems: list[str] = []
    try:
        measured, problems = await step()
    except (_Failed, FirstpullError) as error:
        problems = [str(error)]
    return Step(
        title=title,
        seconds=time.monotonic() - start,
        measured=measured,
        problems=tuple(problems),
    )


def _condition(record: DeviceRecord) -> str:
    condition = record.status.condition
    return f"{condition.state} {condition.reason}: {condition.message}"


@asynccontextmanager
async def _firstpull(run: Run, made: Made) -> AsyncIterator[Application]:
    """firstpull in this process, with the caller's identity."""
    settings = Settings.model_validate(
        {
            "deployment": _REQUESTED_BY,
            "policy": json.dumps(
                {
                    "hubs": [made.hub_host],
                    "containerRegistries": [run.registry],
                    "connectedRegistries": [
                        # Nobody deploys it, so that Azure has no address of it.
                        {"name": CONNECTED_REGISTRY, "endpoint": "connected-registry.invalid"}
                    ],
                }
            ),
            "key_vault_url": made.vault_url,
            "arm_endpoint": run.endpoint,
            "AzureWebJobsStorage": None,
            "AzureWebJobsStorage__blobServiceUri": made.storage_urls["blob"],
            "AzureWebJobsStorage__queueServiceUri": made.storage_urls["queue"],
            "AzureWebJobsStorage__tableServiceUri": made.storage_urls["table"],
        }
    )
    async with AsyncExitStack() as cleanup:
        yield wire(settings, await _connected(settings, cleanup))


async def _connected(settings: Settings, cleanup: AsyncExitStack) -> Ports:
    """The adapters, also where roles that have had an effect lose it for moments."""
    for _ in range(_CONNECT_TRIES):
        try:
            return await connect(settings, cleanup=cleanup)
        except FirstpullError:
            await asyncio.sleep(_AFTER_A_FAILURE)
    return await connect(settings, cleanup=cleanup)
