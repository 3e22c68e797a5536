"""Asks what was made for every answer of the contract."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import ClientSession
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError

from contract.answers import Service, services
from contract.runner import Target, check
from tools.verify_azure.create import HUB_AUDIENCE, Made
from tools.verify_azure.hub import register_device
from tools.verify_azure.plan import CONNECTED_REGISTRY, REGISTRY_VERSION, REPOSITORY, Run
from tools.verify_azure.report import Asked, Difference
from tools.verify_azure.rest import ARM_AUDIENCE, Arm, Refused

_DEVICE = "contract"
_TOKEN = "contractpull"  # noqa: S105 - a name
_SECRET = re.compile(r'("(?:value|password|\w*_token|\w*[kK]ey)"\s*:\s*)"[^"]*"?')


async def ask_contract(
    run: Run, made: Made, arm: Arm, credential: TokenCredential
) -> tuple[Asked, ...]:
    """What each service of the contract answers. A service that fails does not stop the others."""
    await asyncio.to_thread(register_device, made, credential, _DEVICE)
    password = await asyncio.to_thread(_make_token, run, arm)
    targets = {
        "containerRegistry": _Address(
            arm.endpoint,
            ARM_AUDIENCE,
            {
                "subscription": run.subscription,
                "registry": run.registry,
                "registryName": run.name,
                "scopeMap": "contractmap",
                "token": "contracttoken",
                "client": "contractclient",
                "connected": "contractsite",
            },
        ),
        "keyVault": _Address(made.vault_url, made.vault_audience, {"secret": "contract"}),
        "iotHub": _Address(f"https://{made.hub_host}", HUB_AUDIENCE, {"device": _DEVICE}),
        "registry": _Address(
            f"https://{made.login_server}",
            None,
            {
                "host": made.login_server,
                "credential": _basic(_TOKEN, password),
                "repository": REPOSITORY,
                "outOfScope": "out-of-scope",
            },
        ),
    }
    async with ClientSession(trust_env=True) as session:
        return tuple(
            [await _ask(each, targets.get(each.name), session, credential) for each in services()]
        )


@dataclass(frozen=True)
class _Address:
    """`audience` of None: requests carry what the contract says, else nothing."""

    endpoint: str
    audience: str | None
    variables: dict[str, str]


async def _ask(
    service: Service, address: _Address | None, session: ClientSession, credential: TokenCredential
) -> Asked:
    answers = sum(answer.request is not None for answer in service.answers)
    if address is None:
        return Asked(service=service.name, answers=answers, not_asked="it is not made here")
    target = Target(
        endpoint=address.endpoint,
        session=session,
        authorization=_authorization(credential, address.audience),
        variables=dict(address.variables),
    )
    try:
        found = await check(service, target)
    except (AzureError, OSError, ValueError, LookupError) as error:
        reason = f"{type(error).__name__}: {error}"
        return Asked(service=service.name, answers=answers, not_asked=reason)
    return Asked(
        service=service.name,
        answers=answers,
        differences=tuple(
            Difference(
                id=each.answer.id,
                says=each.answer.says,
                basis=str(each.answer.basis),
                source=each.answer.source,
                problems=tuple(_SECRET.sub(r'\1"…"', problem) for problem in each.problems),
            )
            for each in found
        ),
    )


def _authorization(
    credential: TokenCredential, audience: str | None
) -> Callable[[], Awaitable[str]]:
    async def authorization() -> str:
        if audience is None:
            return ""
        token = await asyncio.to_thread(credential.get_token, f"{audience}/.default")
        return f"Bearer {token.token}"

    return authorization


def _make_token(run: Run, arm: Arm) -> str:
    """A token that may pull what the connected registry syncs; its password."""
    token = f"{run.registry}/tokens/{_TOKEN}"
    properties = {"scopeMapId": f"{run.registry}/scopeMaps/{CONNECTED_REGISTRY}"}
    arm.put(token, {"properties": properties}, api_version=REGISTRY_VERSION)
    arm.when_ready(token, api_version=REGISTRY_VERSION)
    made = arm.post(
        f"{run.registry}/generateCredentials",
        {"tokenId": token, "name": "password1"},
        api_version=REGISTRY_VERSION,
    )
    passwords = (made or {}).get("passwords") or []
    for password in passwords:
        if password.get("value"):
            return str(password["value"])
    raise Refused("POST generateCredentials", status=200, code="NoPassword", message="")


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
