"""The custom role of infra/ allows every call to Azure Resource Manager that was made."""

from __future__ import annotations

import json
from pathlib import Path

from local_azure.stack import Stack
from tests.end_to_end.cloud import forget_devices, register
from tests.end_to_end.in_process import connected

_ROLE = Path(__file__).parents[2] / "infra" / "role.json"
_PREFIX = "Microsoft.ContainerRegistry/registries/"
_VERBS = {"get": "read", "createOrUpdate": "write", "update": "write"}
_OTHERS = {
    "tokens.operationStatus": "tokens/operationStatuses/read",
    "registries.generateCredentials": "generateCredentials/action",
}


def _action_of(operation: str) -> str:
    if operation in _OTHERS:
        return _PREFIX + _OTHERS[operation]
    resource, _, verb = operation.partition(".")
    return f"{_PREFIX}{resource}/{_VERBS[verb]}"


async def test_the_role_allows_what_an_onboarding_calls(stack: Stack) -> None:
    allowed = set(json.loads(_ROLE.read_text())["Actions"])
    register(stack, "least")
    stack.kernel.calls.reset()
    async with connected(stack) as firstpull:
        application = firstpull.application()
        await firstpull.ask(application, "least", "plant20")
        await firstpull.settle(application, "least", "plant20")
        calls = stack.kernel.calls.latest()
    await forget_devices(stack)
    used = {_action_of(call.operation) for call in calls if call.service == "arm"}
    assert f"{_PREFIX}generateCredentials/action" in used
    assert used <= allowed
