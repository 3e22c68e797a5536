"""IoT Hub: the identity registry, twins and queries over HTTPS, devices over MQTT.

Needed by: firstpull (twins, queries), the device agent (MQTT), the operator in demo and tests.
"""

from __future__ import annotations

from local_azure.iot_hub.models import IotHub
from local_azure.iot_hub.mqtt import MqttEndpoint
from local_azure.iot_hub.responses import create_iot_hub_application

__all__ = ["IotHub", "MqttEndpoint", "create_iot_hub_application"]
