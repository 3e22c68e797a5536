from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from azure.core.credentials import AccessToken
from azure.iot.hub import IoTHubRegistryManager

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.shared_access import InvalidSignature, SharedAccessSignature, new_key
from local_azure.iot_hub.throttles import Throttle, Throttles
from local_azure.kernel import Kernel
from local_azure.kernel.buckets import BucketSize
from local_azure.kernel.clock import Clock
from local_azure.kernel.faults import Fault, FaultKind

from .hub_stack import HubHttp, MachineTime


@pytest.mark.parametrize(
    ("resource", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("127.0.0.1/devices/d", 200),
        ("127.0.0.1/devices/e", 401),
        ("127.0.0.1/dev", 401),
        ("127.0.0.2", 401),
    ],
)
async def test_a_signature_covers_its_resource_and_the_paths_below(
    http: HubHttp, resource: str, status: int
) -> None:
    http.hub.create_device(DeviceSettings("d"))
    headers = {"Authorization": http.owner_signature(resource=resource)}
    assert (await http.request("GET", "/devices/d", headers=headers)).status == status


async def test_a_signature_needs_the_key_and_expires_by_the_machines_clock(
    http: HubHttp, machine_time: MachineTime
) -> None:
    http.hub.create_device(DeviceSettings("d"))
    owner = http.owner_signature()
    for header, status in ((http.owner_signature(key=new_key()), 401), (owner, 200)):
        answer = await http.request("GET", "/devices/d", headers={"Authorization": header})
        assert answer.status == status
    http.kernel.clock.advance(timedelta(days=60))
    answer = await http.request("GET", "/devices/d", headers={"Authorization": owner})
    assert answer.status == 200
    machine_time.passed += timedelta(seconds=61)
    answer = await http.request("GET", "/devices/d", headers={"Authorization": owner})
    assert answer.status == 401


@pytest.mark.parametrize("header", ["", "Bearer nonsense", "Basic eDp5", "SharedAccessSignature"])
async def test_a_request_without_valid_credentials_is_refused(http: HubHttp, header: str) -> None:
    answer = await http.request("GET", "/devices/d", headers={"Authorization": header})
    assert (answer.status, answer.code) == (401, "IotHubUnauthorizedAccess")
    assert answer.body["Message"] == "ErrorCode:IotHubUnauthorizedAccess;Unauthorized"


@pytest.mark.parametrize(
    "fields", ["", "sr=a&sig=YQ==", "sr=a&sig=YQ==&se=soon", "sr=a&sig=ä&se=1"]
)
def test_a_malformed_signature_is_refused(fields: str) -> None:
    with pytest.raises(InvalidSignature):
        SharedAccessSignature.parse(f"SharedAccessSignature {fields}")


def bearer(kernel: Kernel, audience: str) -> str:
    return kernel.tokens.issue(
        issuer="https://sts.windows.net/t/",
        audience=audience,
        lifetime=timedelta(hours=1),
        claims={},
    )


async def test_a_bearer_token_needs_the_audience_of_iot_hubs(http: HubHttp, ca_file: str) -> None:
    http.hub.create_device(DeviceSettings("d"))
    for audience, status in (
        ("https://iothubs.azure.net", 200),
        ("https://iothubs.azure.net/", 200),
        ("https://vault.azure.net", 401),
    ):
        headers = {"Authorization": f"Bearer {bearer(http.kernel, audience)}"}
        assert (await http.request("GET", "/twins/d", headers=headers)).status == status

    class Credential:
        def get_token(self, *scopes: str, **_: object) -> AccessToken:
            audience = scopes[0].removesuffix("/.default")
            at = int(http.kernel.clock.now().timestamp())
            return AccessToken(bearer(http.kernel, audience), at + 3600)

    def read_with_the_sdk() -> str:
        manager = IoTHubRegistryManager.from_token_credential(http.host_name, Credential())
        manager.protocol.config.connection.verify = ca_file
        return str(manager.get_twin("d").device_id)

    assert await asyncio.to_thread(read_with_the_sdk) == "d"


@pytest.mark.parametrize("params", [{}, {"api-version": "2019-01-01"}])
async def test_another_api_version_is_refused(http: HubHttp, params: dict[str, str]) -> None:
    answer = await http.request("GET", "/devices/d", params=params)
    assert (answer.status, answer.code) == (400, "InvalidProtocolVersion")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/statistics/devices", 404), ("POST", "/devices/d", 405), ("PUT", "/twins/d", 405)],
)
async def test_an_unknown_path_or_method_is_refused_with_a_code(
    http: HubHttp, method: str, path: str, status: int
) -> None:
    answer = await http.request(method, path)
    assert answer.status == status
    assert answer.code is not None
    assert answer.body["Message"].startswith(f"ErrorCode:{answer.code};")
    assert http.kernel.calls.counts() == {"iotHub.unknown": 1}


@pytest.mark.parametrize(
    ("encoded", "plain"), [("dev%231", "dev#1"), ("%24edge", "$edge"), ("a%2541", "a%41")]
)
async def test_an_encoded_id_is_decoded_once(http: HubHttp, encoded: str, plain: str) -> None:
    http.hub.create_device(DeviceSettings(plain))
    assert (await http.request("GET", f"/twins/{encoded}")).body["deviceId"] == plain


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"tags":{"a":NaN}}', b"[" * 10**5])
async def test_invalid_json_is_refused(http: HubHttp, body: bytes) -> None:
    http.hub.create_device(DeviceSettings("d"))
    answer = await http.request("PATCH", "/twins/d", data=body)
    assert (answer.status, answer.code) == (400, "IotHubFormatError")


@pytest.mark.parametrize(
    ("status", "code"),
    [(412, "PreconditionFailed"), (429, "ThrottlingBacklogTimeout"), (503, "ServiceUnavailable")],
)
async def test_a_fault_rule_has_the_error_of_iot_hub(http: HubHttp, status: int, code: str) -> None:
    http.hub.create_device(DeviceSettings("d"))
    http.kernel.faults.add(Fault("iotHub.twins.update", FaultKind.STATUS, status=status))
    answer = await http.request("PATCH", "/twins/d", json={"tags": {"a": 1}})
    assert (answer.status, answer.code) == (status, code)
    assert http.hub.twin("d").tags == {}


@pytest.mark.parametrize(
    ("method", "path", "body", "throttle"),
    [
        ("GET", "/devices/d", None, Throttle.IDENTITY_REGISTRY),
        ("GET", "/twins/d", None, Throttle.TWIN_READ),
        ("PATCH", "/twins/d", {}, Throttle.TWIN_UPDATE),
        ("POST", "/devices/query", {"query": "SELECT * FROM devices"}, Throttle.QUERY),
    ],
)
async def test_calls_above_the_rate_are_throttled_until_time_passes(
    kernel: Kernel, method: str, path: str, body: object, throttle: Throttle
) -> None:
    limits = {throttle: BucketSize(capacity=2, per_second=0.001)}
    hub = IotHub(name="hub", clock=kernel.clock, random=kernel.random, throttle_limits=limits)
    hub.create_device(DeviceSettings("d"))
    http = await HubHttp(kernel, hub).start()
    try:
        statuses = [(await http.request(method, path, json=body)).status for _ in range(2)]
        throttled = await http.request(method, path, json=body)
        kernel.clock.advance(timedelta(seconds=1000))
        later = await http.request(method, path, json=body)
    finally:
        await http.close()
    assert [*statuses, later.status] == [200, 200, 200]
    assert (throttled.status, throttled.code) == (429, "ThrottlingBacklogTimeout")
    assert "Retry-After" not in throttled.headers
    assert throttled.headers["Connection"] == "close"


def test_a_pause_fills_a_bucket_only_to_its_capacity(clock: Clock) -> None:
    limits = {Throttle.TWIN_READ: BucketSize(capacity=2, per_second=1)}
    throttles = Throttles(clock=clock, limits=limits)
    clock.advance(timedelta(hours=1))
    for _ in range(2):
        throttles.spend(Throttle.TWIN_READ)
        throttles.spend(Throttle.QUERY)  # without a limit
    with pytest.raises(IotHubError, match="throttled"):
        throttles.spend(Throttle.TWIN_READ)
