from __future__ import annotations

import json
import logging
import os
import time

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


def echo(req: func.HttpRequest, function: str) -> func.HttpResponse:
    seen = {
        "function": function,
        "method": req.method,
        "url": req.url,
        "params": dict(req.params),
        "route": dict(req.route_params),
        "headers": dict(req.headers),
        "body": req.get_body().decode(),
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")


@app.route("devices/{deviceId}", methods=["GET", "PUT"], auth_level=func.AuthLevel.ANONYMOUS)
async def device(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "device")


@app.route("devices/mine", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def my_device(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "my_device")


@app.route("numbers/{value:int}/{more?}", auth_level=func.AuthLevel.ANONYMOUS)
def number(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "number")


@app.route("files/{*path}", auth_level=func.AuthLevel.ANONYMOUS)
def file(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "file")


@app.route(methods=["POST"])
def keyed(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "keyed")


@app.route("guarded", auth_level=func.AuthLevel.ADMIN)
def guarded(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "guarded")


@app.route("answers/{kind}", auth_level=func.AuthLevel.ANONYMOUS)
def answer(req: func.HttpRequest) -> func.HttpResponse:
    if req.route_params["kind"] == "created":
        headers = {"Location": "/elsewhere", "Set-Cookie": "a=b; Path=/; HttpOnly; SameSite=Lax"}
        return func.HttpResponse(b"\x00\xff", status_code=201, headers=headers)
    if req.route_params["kind"] == "no-number":
        return func.HttpResponse(status_code="soon")  # type: ignore[arg-type]
    logging.getLogger("my.app").warning("about to fail")
    raise LookupError("nothing of that kind")


@app.route("text", auth_level=func.AuthLevel.ANONYMOUS)
def text(req: func.HttpRequest) -> str:  # noqa: ARG001 - the trigger
    return f"instance {os.environ['WEBSITE_INSTANCE_ID']}"


@app.route("slow", auth_level=func.AuthLevel.ANONYMOUS)
def slow(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    print("slow began", flush=True)  # noqa: T201 - what the test waits for
    time.sleep(0.5)
    return func.HttpResponse("done")


@app.route("off", auth_level=func.AuthLevel.ANONYMOUS)
def switched_off(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "switched_off")
