from __future__ import annotations

import json
import logging
import time

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


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


@app.route("devices/{deviceId}", methods=["GET", "PUT"])
async def device(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "device")


@app.route("devices/mine", methods=["GET"])
async def my_device(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "my_device")


@app.route(methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
def keyed(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "keyed")


@app.route("guarded", auth_level=func.AuthLevel.ADMIN)
def guarded(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "guarded")


@app.route("answers/{kind}")
def answer(req: func.HttpRequest) -> func.HttpResponse:
    match req.route_params["kind"]:
        case "created":
            headers = {"Location": "/elsewhere"}
            return func.HttpResponse(b"\x00\xff", status_code=201, headers=headers)
        case "cookie":
            cookie = "one=a.b/c; Max-Age=60; Path=/api; HttpOnly; Secure; SameSite=Strict"
            return func.HttpResponse("", headers={"Set-Cookie": cookie})
        case "no-number":
            return func.HttpResponse(status_code="soon")  # type: ignore[arg-type]
        case "nothing":
            return None  # type: ignore[return-value]
    logging.getLogger("my.app").warning("about to fail")
    raise LookupError("nothing of that kind")


@app.route("slow")
def slow(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    print("slow began", flush=True)  # noqa: T201 - the test waits for it
    time.sleep(0.5)
    return func.HttpResponse("done")


@app.route("off")
def switched_off(req: func.HttpRequest) -> func.HttpResponse:
    return echo(req, "switched_off")
