from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from azure.core.credentials import AccessToken
from azure.iot.hub import IoTHubRegistryManager
from msrest.exceptions import HttpOperationError
from yarl import URL

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.shared_access import InvalidSignature, SharedAccessSignature
from local_azure.iot_hub.throttles import Limit, Throttle, Throttles, s1_limits
from local_azure.kernel import Kernel
from local_azure.kernel.clock import Clock
from local_azure.kernel.faults import Fault, FaultKind

from .hub_stack import HubHttp, signature


@pytest.mark.parametrize(
    ("policy", "registry_read", "registry_write", "twins"),
    [
        ("iothubowner", 200, 200, 200),
        ("service", 401, 401, 200),
        ("registryRead", 200, 401, 401),
        ("registryReadWrite", 200, 200, 401),
        ("device", 401, 401, 401),
    ],
)
async def test_a_policy_opens_what_its_rights_name(
    http: HubHttp, policy: str, registry_read: int, registry_write: int, twins: int
) -> None:
    http.hub.create_device(DeviceSettings("d"))
    headers = {"Authorization": http.policy_signature(policy)}
    read = await http.request("GET", "/devices/d", headers=headers)
    write = await http.request(
        "PUT", "/devices/d", json={"deviceId": "d"}, headers={**headers, "If-Match": "*"}
    )
    twin = await http.request("GET", "/twins/d", headers=headers)
    assert (read.status, write.status, twin.status) == (registry_read, registry_write, twins)


@pytest.mark.parametrize(
    ("resource", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("127.0.0.1/devices", 200),
        ("127.0.0.1/devices/d", 200),
        ("127.0.0.1/devices/e", 401),
        ("127.0.0.1/dev", 401),
        ("127.0.0.1/twins", 401),
        ("127.0.0.2", 401),
    ],
)
async def test_a_signature_opens_the_resource_it_names_and_what_is_below(
    http: HubHttp, resource: str, status: int
) -> None:
    http.hub.create_device(DeviceSettings("d"))
    headers = {"Authorization": http.policy_signature(resource=resource)}
    assert (await http.request("GET", "/devices/d", headers=headers)).status == status


async def test_both_keys_of_a_policy_sign_and_no_other_does(http: HubHttp) -> None:
    http.hub.create_device(DeviceSettings("d"))
    owner, service = http.hub.policies["iothubowner"], http.hub.policies["service"]
    for key, status in (
        (owner.primary_key, 200),
        (owner.secondary_key, 200),
        (service.primary_key, 401),
    ):
        text = signature(
            resource="127.0.0.1",
            key=key,
            expires_at=int(http.kernel.clock.now().timestamp()) + 60,
            policy="iothubowner",
        )
        answer = await http.request("GET", "/devices/d", headers={"Authorization": text})
        assert answer.status == status


async def test_a_signature_holds_until_its_expiry(http: HubHttp) -> None:
    http.hub.create_device(DeviceSettings("d"))
    headers = {"Authorization": http.policy_signature()}
    assert (await http.request("GET", "/devices/d", headers=headers)).status == 200
    http.kernel.clock.advance(timedelta(seconds=61))
    assert (await http.request("GET", "/devices/d", headers=headers)).status == 401


@pytest.mark.parametrize("header", ["", "Bearer nonsense", "Basic eDp5", "SharedAccessSignature"])
async def test_nothing_is_answered_without_credentials(http: HubHttp, header: str) -> None:
    answer = await http.request("GET", "/devices/d", headers={"Authorization": header})
    assert (answer.status, answer.code) == (401, "IotHubUnauthorizedAccess")
    assert answer.body["Message"] == "ErrorCode:IotHubUnauthorizedAccess;Unauthorized"


@pytest.mark.parametrize(
    "text",
    [
        "Bearer x",
        "SharedAccessSignature ",
        "SharedAccessSignature sr=a&sig=YQ==",
        "SharedAccessSignature sr=a&sig=YQ==&se=soon",
        "SharedAccessSignature sr=a&sig=%%%&se=1",
        "SharedAccessSignature sr=a&sig=ä&se=1",
    ],
)
def test_text_that_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(InvalidSignature):
        SharedAccessSignature.parse(text)


def bearer(kernel: Kernel, audience: str) -> str:
    return kernel.tokens.issue(
        issuer="https://sts.windows.net/t/",
        audience=audience,
        lifetime=timedelta(hours=1),
        claims={},
    )


@pytest.mark.parametrize(
    ("audience", "status"),
    [
        ("https://iothubs.azure.net", 200),
        ("https://iothubs.azure.net/", 200),
        ("https://vault.azure.net", 401),
    ],
)
async def test_a_bearer_token_opens_the_hub_when_it_is_for_iot_hubs(
    http: HubHttp, audience: str, status: int
) -> None:
    http.hub.create_device(DeviceSettings("d"))
    headers = {"Authorization": f"Bearer {bearer(http.kernel, audience)}"}
    assert (await http.request("GET", "/twins/d", headers=headers)).status == status


async def test_the_sdk_comes_in_with_a_token_credential(http: HubHttp, ca_file: str) -> None:
    http.hub.create_device(DeviceSettings("d"))

    class Credential:
        def get_token(self, *scopes: str, **_: object) -> AccessToken:
            audience = scopes[0].removesuffix("/.default")
            at = int(http.kernel.clock.now().timestamp())
            return AccessToken(bearer(http.kernel, audience), at + 3600)

    def work() -> str:
        manager = IoTHubRegistryManager.from_token_credential(http.host_name, Credential())
        manager.protocol.config.connection.verify = ca_file
        return str(manager.get_twin("d").device_id)

    assert await asyncio.to_thread(work) == "d"


async def test_the_sdk_needs_nothing_but_a_connection_string_and_the_ca(
    http: HubHttp, ca_file: str
) -> None:
    program = (
        "import sys\n"
        "from azure.iot.hub import IoTHubRegistryManager\n"
        "manager = IoTHubRegistryManager.from_connection_string(sys.stdin.readline())\n"
        "manager.create_device_with_sas('d', None, None, 'enabled')\n"
        "print(manager.get_twin('d').etag)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "REQUESTS_CA_BUNDLE": ca_file},
        cwd=Path(ca_file).parent,
    )
    text = http.hub.policies["iothubowner"].connection_string(http.host_name)
    out, _ = await process.communicate(text.encode())
    assert (process.returncode, out.decode().strip()) == (0, "AAAAAAAAAAE=")


async def test_the_sdk_sees_a_missing_right_as_401(http: HubHttp, ca_file: str) -> None:
    http.hub.create_device(DeviceSettings("d"))
    manager = http.manager(ca_file, policy="registryReadWrite")
    with pytest.raises(HttpOperationError) as caught:
        await asyncio.to_thread(manager.get_twin, "d")
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize("params", [{}, {"api-version": "2019-01-01"}])
async def test_an_api_version_that_is_not_served_is_refused(
    http: HubHttp, params: dict[str, str]
) -> None:
    answer = await http.request("GET", "/devices/d", params=params)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/statistics/devices", 404),
        ("GET", "/devices/d/services", 404),
        ("GET", "/devices/a/b/c", 404),
        ("POST", "/devices/d", 405),
        ("DELETE", "/twins/d", 405),
    ],
)
async def test_what_is_not_served_is_refused_loudly(
    http: HubHttp, method: str, path: str, status: int
) -> None:
    answer = await http.request(method, path)
    assert answer.status == status
    assert answer.code is not None
    assert answer.body["Message"].startswith(f"ErrorCode:{answer.code};")
    assert http.kernel.calls.counts() == {"iotHub.unknown": 1}


async def test_an_encoded_id_means_the_same_as_a_plain_one(http: HubHttp) -> None:
    for encoded, plain in (
        ("dev%231", "dev#1"),
        ("%24edgeAgent", "$edgeAgent"),
        ("a%2541", "a%41"),
    ):
        http.hub.create_device(DeviceSettings(plain))
        async with aiohttp.ClientSession() as session:
            response = await session.get(
                URL(
                    f"https://{http.host_name}/twins/{encoded}?api-version=2021-04-12",
                    encoded=True,
                ),
                headers={"Authorization": http.policy_signature()},
                ssl=http.kernel.certificates.client_context(),
            )
            assert (await response.json())["deviceId"] == plain


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"tags":{"a":NaN}}', b"[" * 10**5])
async def test_a_body_that_is_no_json_is_refused(http: HubHttp, body: bytes) -> None:
    http.hub.create_device(DeviceSettings("d"))
    async with aiohttp.ClientSession() as session:
        response = await session.patch(
            f"https://{http.host_name}/twins/d?api-version=2021-04-12",
            data=body,
            headers={"Authorization": http.policy_signature()},
            ssl=http.kernel.certificates.client_context(),
        )
        assert response.status == 400
        assert json.loads(await response.text())["Message"].startswith("ErrorCode:")


async def test_every_call_is_counted_by_its_operation(http: HubHttp) -> None:
    await http.request("PUT", "/devices/d", json={"deviceId": "d"})
    await http.request("GET", "/devices/d")
    await http.request("GET", "/devices")
    await http.request("GET", "/twins/d")
    await http.request("PATCH", "/twins/d", json={})
    await http.request("PUT", "/twins/d", json={})
    await http.request("DELETE", "/devices/d", headers={"If-Match": "*"})
    assert http.kernel.calls.counts() == {
        f"iotHub.{operation}": 1
        for operation in (
            "devices.createOrUpdate",
            "devices.delete",
            "devices.get",
            "devices.list",
            "twins.get",
            "twins.replace",
            "twins.update",
        )
    }


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (412, "PreconditionFailed"),
        (429, "ThrottlingBacklogTimeout"),
        (500, "ServerError"),
        (503, "ServiceUnavailable"),
    ],
)
async def test_a_fault_rule_answers_as_iot_hub_would(http: HubHttp, status: int, code: str) -> None:
    http.hub.create_device(DeviceSettings("d"))
    http.kernel.faults.add(Fault("iotHub.twins.update", FaultKind.STATUS, status=status))
    answer = await http.request("PATCH", "/twins/d", json={"tags": {"a": 1}})
    assert (answer.status, answer.code) == (status, code)
    assert http.hub.twin("d").tags == {}


THROTTLED = [
    ("GET", "/devices/d", None, Throttle.IDENTITY_REGISTRY),
    ("GET", "/twins/d", None, Throttle.TWIN_READ),
    ("PATCH", "/twins/d", {}, Throttle.TWIN_UPDATE),
    ("POST", "/devices/query", {"query": "SELECT * FROM devices"}, Throttle.QUERY),
]


@pytest.mark.parametrize(("method", "path", "body", "throttle"), THROTTLED)
async def test_too_many_calls_are_throttled_until_time_passes(
    kernel: Kernel, method: str, path: str, body: object, throttle: Throttle
) -> None:
    limits = {throttle: Limit(per_second=1, burst=2)}
    hub = IotHub(name="hub", clock=kernel.clock, random=kernel.random, throttle_limits=limits)
    hub.create_device(DeviceSettings("d"))
    http = await HubHttp(kernel, hub).start()
    try:
        statuses = [(await http.request(method, path, json=body)).status for _ in range(2)]
        throttled = await http.request(method, path, json=body)
        kernel.clock.advance(timedelta(seconds=1))
        later = await http.request(method, path, json=body)
    finally:
        await http.close()
    assert [*statuses, later.status] == [200, 200, 200]
    assert (throttled.status, throttled.code) == (429, "ThrottlingBacklogTimeout")
    assert "Retry-After" not in throttled.headers
    assert throttled.headers["Connection"] == "close"
    assert throttled.body["Message"].startswith(
        "ErrorCode:ThrottlingBacklogTimeout;The request has been throttled. "
        "Wait 10 seconds and try again. Operation type: "
    )


def test_an_s1_hub_allows_a_hundred_identity_calls_a_minute_and_unit() -> None:
    for units in (1, 3):
        limit = s1_limits(units=units)[Throttle.IDENTITY_REGISTRY]
        assert limit.per_second * 60 == pytest.approx(100 * units)
        assert s1_limits(units=units)[Throttle.TWIN_READ].per_second == 100
        assert s1_limits(units=units)[Throttle.TWIN_UPDATE].per_second == 50


def test_an_s1_hub_allows_twenty_queries_a_minute_and_unit() -> None:
    for units in (1, 3):
        limit = s1_limits(units=units)[Throttle.QUERY]
        assert limit.per_second * 60 == pytest.approx(20 * units)


def test_throttles_can_be_switched_off(kernel: Kernel) -> None:
    hub = IotHub(name="hub", clock=kernel.clock, random=kernel.random, throttle_limits={})
    for _ in range(1000):
        hub.throttles.spend(Throttle.IDENTITY_REGISTRY)


def test_a_long_rest_fills_a_bucket_to_its_size_and_no_further(clock: Clock) -> None:
    limits = {Throttle.TWIN_READ: Limit(per_second=1, burst=2)}
    throttles = Throttles(clock=clock, limits=limits)
    clock.advance(timedelta(hours=1))
    for _ in range(2):
        throttles.spend(Throttle.TWIN_READ)
    with pytest.raises(IotHubError, match="throttled"):
        throttles.spend(Throttle.TWIN_READ)
