"""The app runs from the deployment package, in Microsoft's worker on the local Azure."""

from __future__ import annotations

import pytest

from local_azure.stack import Stack
from tests.end_to_end.api import Api
from tests.end_to_end.cloud import cloud_answers, entry_of, register, report_login

from .rest_client import described, read_requests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the first test waits for the build
_PLANT = "plant22"


async def test_a_device_gets_credentials_that_work(api: Api, stack: Stack) -> None:
    register(stack, "packaged-1")
    answer = await api.onboard("packaged-1", _PLANT, wait=20)
    assert answer.status in {200, 202}, answer.text
    await api.reaches("packaged-1", "Delivered")
    entry = entry_of(stack, "packaged-1", _PLANT)
    assert await cloud_answers(stack, entry["username"], entry["password"]) == 200
    report_login(stack, "packaged-1", _PLANT)
    assert (await api.onboard("packaged-1", _PLANT, wait=20)).status == 200
    await api.reaches("packaged-1", "Ready")


async def test_test_http_has_a_request_for_every_route_and_the_app_takes_each(
    api: Api, stack: Stack
) -> None:
    register(stack, "packaged-2")
    values = {
        "$processEnv FIRSTPULL_URL": api.app.url,
        "$processEnv IOT_HUB_HOSTNAME": stack.iot_hub_host_name,
        "$processEnv FIRSTPULL_KEY": api.app.key,
        "$processEnv FIRSTPULL_TOKEN": "",
        "$timestamp": "1795449600",
        "device": "packaged-2",
        "connectedRegistry": _PLANT,
    }
    paths = (await api.ask("GET", "/api/openapi.json")).document["paths"]
    missing = {(method, path) for path, methods in paths.items() for method in methods}
    for request in read_requests(values):
        answer = await api.ask(
            request.method,
            request.url,
            body=request.body.encode() if request.body else None,
            headers=request.headers,
            key=request.headers.get("x-functions-key", ""),
        )
        method, path = described(request, paths)
        missing.discard((method, path))
        assert str(answer.status) in paths[path][method]["responses"], answer.text
        assert answer.status not in {400, 403, 405, 409, 503}, f"{request.title}: {answer.text}"
        assert (answer.status == 401) is ("webhook-signature" in request.headers)
    assert missing == set()
