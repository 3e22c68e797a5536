"""The rules of the endpoint, tested with packets that no SDK sends."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.identities import DeviceSettings, Identity
from local_azure.iot_hub.mqtt import MAX_PACKET_BYTES
from local_azure.iot_hub.mqtt_packets import (
    PacketType,
    Publish,
    encode_publish,
)
from local_azure.iot_hub.throttles import Throttle
from local_azure.iot_hub.twins import TwinPatch
from local_azure.kernel import Kernel
from local_azure.kernel.buckets import BucketSize
from local_azure.kernel.faults import Fault, FaultKind

from .hub_stack import HubMqtt, MachineTime, RawDevice, packet, signature, text, until

ANSWERS = "$iothub/twin/res/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"
GET = "$iothub/twin/GET/?$rid=1"
REPORT = "$iothub/twin/PATCH/properties/reported/?$rid=1"


@pytest.fixture
def identity(hub: IotHub) -> Identity:
    return hub.create_device(DeviceSettings("d"))


async def connect(mqtt: HubMqtt, *, user_name: str, password: str) -> int:
    """The code of the CONNACK."""
    device = await mqtt.raw()
    code = await device.connect("d", user_name=user_name, password=password)
    device.close()
    return code


async def still_connected(device: RawDevice) -> bool:
    device.send(packet(PacketType.PINGREQ))
    return (await device.read()).type is PacketType.PINGRESP


@pytest.mark.parametrize(
    ("user_name", "code"),
    [
        ("{host}/d/?api-version=2021-04-12", 0),
        ("{host}/d/api-version=2021-04-12", 0),
        ("{host}:8883/d/?DeviceClientType=x&api-version=2020-05-31-preview", 0),
        ("{host}/d/", 5),
        ("{host}/d/?api-version=", 5),
        ("{host}/e/?api-version=2021-04-12", 5),
        ("127.0.0.1/d/?api-version=2021-04-12", 5),
        ("", 5),
    ],
)
async def test_a_user_name_has_the_hub_the_device_and_an_api_version(
    mqtt: HubMqtt, identity: Identity, user_name: str, code: int
) -> None:
    user_name = user_name.format(host=mqtt.address)
    assert await connect(mqtt, user_name=user_name, password=mqtt.password(identity)) == code


@pytest.mark.parametrize(
    ("resource", "policy", "code"),
    [
        ("{host}/devices/d", None, 0),
        ("{host}:8883/devices/%64", None, 0),
        ("{host}/devices/e", None, 5),
        ("{host}", None, 5),
        ("127.0.0.1/devices/d", None, 5),
        ("{host}/devices/d/modules/m", None, 5),
        ("{host}/devices/d", "iothubowner", 5),
    ],
)
async def test_a_signature_is_for_the_device_itself(
    mqtt: HubMqtt, identity: Identity, resource: str, policy: str | None, code: int
) -> None:
    password = signature(
        resource=resource.format(host=mqtt.address),
        key=identity.settings.authentication.keys[0],
        expires_at=int(mqtt.kernel.clock.now().timestamp()) + 60,
        policy=policy,
    )
    assert await connect(mqtt, user_name=mqtt.user_name("d"), password=password) == code


async def test_a_connection_ends_when_its_signature_expires_by_the_machines_clock(
    mqtt: HubMqtt, identity: Identity, machine_time: MachineTime
) -> None:
    device = await mqtt.connected(identity)
    mqtt.kernel.clock.advance(timedelta(days=60))
    machine_time.passed += timedelta(seconds=30)
    assert await still_connected(device)
    expired = mqtt.password(identity, valid_for=0)
    machine_time.passed += timedelta(seconds=31)
    device.send(packet(PacketType.PINGREQ))
    assert await device.is_dropped()
    assert await connect(mqtt, user_name=mqtt.user_name("d"), password=expired) == 5
    listening = await mqtt.connected(identity)
    await listening.subscribe(DESIRED)
    machine_time.passed += timedelta(minutes=2)
    mqtt.hub.patch_twin("d", TwinPatch(desired={"a": 1}), etag=None)
    assert await listening.is_dropped()


@pytest.mark.parametrize("protocol", [("MQIsdp", 3), ("MQTT", 5)])
async def test_another_version_of_mqtt_is_refused(
    mqtt: HubMqtt, identity: Identity, protocol: tuple[str, int]
) -> None:
    device = await mqtt.raw()
    user_name, password = mqtt.user_name("d"), mqtt.password(identity)
    code = await device.connect("d", user_name=user_name, password=password, protocol=protocol)
    assert code == 1
    assert await device.is_dropped()


async def test_a_new_connection_replaces_the_old_one(mqtt: HubMqtt, identity: Identity) -> None:
    old = await mqtt.connected(identity)
    new = await mqtt.connected(identity)
    assert await old.is_dropped()
    assert await still_connected(new)
    assert mqtt.hub.device("d").connected


async def test_subscriptions_survive_a_connection_unless_the_session_is_clean_or_the_device_new(
    mqtt: HubMqtt, identity: Identity
) -> None:
    first = await mqtt.connected(identity, clean=False)
    assert not first.session_present
    await first.subscribe(ANSWERS)
    second = await mqtt.connected(identity, clean=False)
    assert second.session_present
    topic, _ = await second.twin_request(GET)
    assert topic == "$iothub/twin/res/200/?$rid=1"
    third = await mqtt.connected(identity, clean=True)
    third.publish(GET)
    assert await still_connected(third)  # and got no answer before
    fourth = await mqtt.connected(identity, clean=False)
    assert not fourth.session_present
    mqtt.hub.delete_device("d", etag=None)
    assert await fourth.is_dropped()
    again = mqtt.hub.create_device(DeviceSettings("d"))
    assert not (await mqtt.connected(again, clean=False)).session_present


async def test_a_device_receives_patches_after_it_subscribes(
    mqtt: HubMqtt, identity: Identity
) -> None:
    device = await mqtt.connected(identity)
    mqtt.hub.patch_twin("d", TwinPatch(desired={"a": 1}), etag=None)
    assert await device.subscribe(DESIRED) == [0]
    mqtt.hub.patch_twin("d", TwinPatch(desired={"a": 2}), etag=None)
    topic, payload = await device.message()
    assert topic == "$iothub/twin/PATCH/properties/desired/?$version=3"
    assert json.loads(payload) == {"a": 2, "$version": 3}


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"a":NaN}', b"\xff", b'{"a.b":1}'])
async def test_an_invalid_report_is_400_and_changes_nothing(
    mqtt: HubMqtt, identity: Identity, payload: bytes
) -> None:
    device = await mqtt.connected(identity)
    await device.subscribe(ANSWERS)
    topic, body = await device.twin_request(REPORT, payload)
    assert topic == "$iothub/twin/res/400/?$rid=1"
    assert set(json.loads(body)) == {"errorCode", "message", "trackingId", "timestampUtc"}
    assert mqtt.hub.twin("d").reported.version == 1
    topic, _ = await device.twin_request(REPORT.replace("rid=1", "rid=a%2Fb%20c"), b'{"a": 1}')
    assert topic == "$iothub/twin/res/204/?$rid=a%2Fb%20c&$version=2"


async def test_twin_calls_of_devices_are_throttled(kernel: Kernel, mqtt_address: str) -> None:
    limits = dict.fromkeys(Throttle, BucketSize(capacity=1, per_second=0.001))
    hub = IotHub(name="hub", clock=kernel.clock, random=kernel.random, throttle_limits=limits)
    identity = hub.create_device(DeviceSettings("d"))
    mqtt = await HubMqtt(kernel, hub, mqtt_address).start()
    try:
        device = await mqtt.connected(identity)
        await device.subscribe(ANSWERS)
        topics = [
            (await device.twin_request(request, b"{}"))[0] for request in (GET, GET, REPORT, REPORT)
        ]
    finally:
        await mqtt.close()
    assert [topic.split("/")[3] for topic in topics] == ["200", "429", "204", "429"]


@pytest.mark.parametrize(
    "data",
    [
        packet(PacketType.PUBLISH, text("$iothub/twin/GET/?$rid=")),
        packet(PacketType.PUBLISH, text("$iothub/twin/DELETE/?$rid=1")),
        packet(PacketType.PUBLISH, text("devices/d/messages/events/")),
        packet(PacketType.PUBLISH, text("a/+")),
        packet(PacketType.PUBLISH, text(GET) + b"\x00\x01", flags=4),  # QoS 2
        packet(PacketType.PUBLISH, b"\x00\xff" + b"a"),
        packet(PacketType.SUBSCRIBE, b"\x00\x01" + text("$iothub/#") + b"\x00", flags=2),
        packet(PacketType.SUBSCRIBE, b"\x00\x01" + text(ANSWERS) + b"\x00"),  # no flags
        packet(PacketType.CONNECT, b""),
        b"\xf0\x00",
        b"\x30\xff\xff\xff\x7f",
    ],
)
async def test_an_invalid_packet_or_topic_ends_only_the_connection(
    mqtt: HubMqtt, identity: Identity, data: bytes
) -> None:
    device = await mqtt.connected(identity)
    device.send(data)
    assert await device.is_dropped()
    await mqtt.connected(identity)
    early = await mqtt.raw()
    early.send(packet(PacketType.PINGREQ))  # before a CONNECT
    assert await early.is_dropped()


async def test_a_packet_above_the_limit_is_not_read(mqtt: HubMqtt, identity: Identity) -> None:
    device = await mqtt.connected(identity)
    await device.subscribe(ANSWERS)
    device.send(encode_publish(Publish(REPORT, b" " * (MAX_PACKET_BYTES - 2 - len(REPORT)))))
    assert (await device.message())[0] == "$iothub/twin/res/400/?$rid=1"
    device.send(encode_publish(Publish(REPORT, b" " * MAX_PACKET_BYTES)))
    assert await device.is_dropped()


async def test_a_silent_device_is_dropped_after_its_keep_alive(
    kernel: Kernel, hub: IotHub, identity: Identity, mqtt_address: str
) -> None:
    mqtt = await HubMqtt(kernel, hub, mqtt_address).start(keep_alive_grace=0.01)
    try:
        assert await still_connected(await mqtt.connected(identity, keep_alive=0))
        silent = await mqtt.connected(identity, keep_alive=1)
        assert await silent.is_dropped()
        assert not hub.device("d").connected
    finally:
        await mqtt.close()


@pytest.mark.parametrize(("status", "code"), [(401, 5), (403, 5), (429, 3), (503, 3)])
async def test_a_fault_rule_refuses_a_connect(
    mqtt: HubMqtt, identity: Identity, status: int, code: int
) -> None:
    mqtt.kernel.faults.add(Fault("iotHub.mqtt.connect", FaultKind.STATUS, status=status))
    login = {"user_name": mqtt.user_name("d"), "password": mqtt.password(identity)}
    assert await connect(mqtt, **login) == code
    await mqtt.connected(identity)
    assert mqtt.kernel.calls.counts() == {"iotHub.mqtt.connect": 2}


@pytest.mark.parametrize(
    ("kind", "reported"),
    [(FaultKind.STATUS, {}), (FaultKind.RESET, {}), (FaultKind.ANSWER_LOST, {"a": 1})],
)
async def test_a_fault_rule_fails_a_twin_call_before_or_after_its_effect(
    mqtt: HubMqtt, identity: Identity, kind: FaultKind, reported: dict[str, int]
) -> None:
    device = await mqtt.connected(identity)
    await device.subscribe(ANSWERS)
    mqtt.kernel.faults.add(Fault("iotHub.mqtt.twin.reported", kind))
    device.publish(REPORT, b'{"a": 1}')
    if kind is FaultKind.STATUS:
        assert (await device.message())[0] == "$iothub/twin/res/503/?$rid=1"
    else:
        assert await device.is_dropped()
    assert mqtt.hub.twin("d").reported.values == reported


async def test_a_delayed_call_of_a_dropped_device_has_no_effect(
    mqtt: HubMqtt, identity: Identity
) -> None:
    device = await mqtt.connected(identity)
    rule = Fault("iotHub.mqtt.twin.reported", FaultKind.DELAY, seconds=0.05)
    mqtt.kernel.faults.add(rule)
    device.publish(REPORT, b'{"a": 1}')
    await until(lambda: rule.hits == 1)
    mqtt.hub.delete_device("d", etag=None)
    mqtt.hub.create_device(DeviceSettings("d"))
    assert await device.is_dropped()
    await until(lambda: "iotHub.mqtt.twin.reported" in mqtt.kernel.calls.counts())
    assert mqtt.hub.twin("d").reported.values == {}
