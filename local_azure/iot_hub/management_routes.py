"""The management port's routes for IoT Hub's queries."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from aiohttp import web
from pydantic import Field

from local_azure.iot_hub.models import IotHub
from local_azure.management import Body, read_body

_MAX_LAG_SECONDS = 24 * 3600


class QueryLagBody(Body):
    """The time until queries see a change."""

    lag_seconds: Annotated[float, Field(ge=0, le=_MAX_LAG_SECONDS)]


class IotHubRoutes:
    """The lag of queries."""

    def __init__(self, hub: IotHub) -> None:
        self._hub = hub

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.route("GET", "/iotHub/queryLag", self.show_query_lag),
            web.route("PUT", "/iotHub/queryLag", self.set_query_lag),
        ]

    async def show_query_lag(self, _: web.Request) -> web.Response:
        """The time until queries see a change of a device."""
        return web.json_response({"lagSeconds": self._hub.index.lag.total_seconds()})

    async def set_query_lag(self, request: web.Request) -> web.Response:
        """Sets the lag of later changes: {"lagSeconds": 1800}."""
        body = await read_body(request, QueryLagBody)
        self._hub.index.lag = timedelta(seconds=body.lag_seconds)
        return await self.show_query_lag(request)
