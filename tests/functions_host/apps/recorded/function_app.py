"""The app that contract/functions_host/ was recorded with: it answers with what reaches it."""

from __future__ import annotations

import json

import azure.functions as func

app = func.FunctionApp()
ANONYMOUS = func.AuthLevel.ANONYMOUS
_SHOWN = ("authorization", "content-", "cookie", "host", "x-forwarded", "x-original", "x-probe")
_HEADERS = {
    "length": {"Content-Length": "99", "Date": "a date", "Server": "mine"},
    "split": {"X-Probe": "a\r\nX-Other: b"},
}


def show(req: func.HttpRequest) -> func.HttpResponse:
    body = req.get_body()
    seen = {
        "method": req.method,
        "url": req.url,
        "params": dict(req.params),
        "route": dict(req.route_params),
        "headers": {n: v for n, v in req.headers.items() if n.lower().startswith(_SHOWN)},
        "length": len(body),
        "body": body[:200].decode("latin-1"),
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")


@app.route("devices/{hub}/{device}", methods=["GET", "PUT", "DELETE"])
def device(req: func.HttpRequest) -> func.HttpResponse:
    return show(req)


@app.route("sites/{site}", methods=["GET"])
def site(req: func.HttpRequest) -> func.HttpResponse:
    return show(req)


@app.route("healthz", methods=["GET"], auth_level=ANONYMOUS)
def healthz(req: func.HttpRequest) -> func.HttpResponse:
    return show(req)


@app.route("answer", methods=["GET"], auth_level=ANONYMOUS)
def answer(req: func.HttpRequest) -> func.HttpResponse:
    match kind := req.params["kind"]:
        case "none":
            return None  # type: ignore[return-value]
        case "bytes":
            return func.HttpResponse(bytes(range(256)), mimetype="application/octet-stream")
        case "charset":
            return func.HttpResponse("Größe", mimetype="text/plain", charset="iso-8859-1")
        case "status":
            status = int(req.params["code"])
            return func.HttpResponse(req.params.get("body", ""), status_code=status)
    return func.HttpResponse("x", headers=_HEADERS[kind])


@app.route("secrets-admin", methods=["POST"], auth_level=func.AuthLevel.ADMIN)
def secrets_admin(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    return func.HttpResponse("ok")


@app.route("boom", methods=["GET"], auth_level=ANONYMOUS)
def boom(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    raise RuntimeError("a text that no caller sees")


@app.route("relay", methods=["POST"], auth_level=ANONYMOUS)
@app.queue_output("out", "relayed", "AzureWebJobsStorage")
def relay(req: func.HttpRequest, out: func.Out[str]) -> func.HttpResponse:
    text = req.get_body().decode()
    match req.params.get("kind"):
        case "json":
            out.set(json.dumps({"a": text}))
        case "list":
            out.set([text, f"{text}2"])  # type: ignore[arg-type]
        case "fail":
            out.set(text)
            raise RuntimeError("after the output was set")
        case _:
            out.set(text)
    return func.HttpResponse("relayed")


@app.queue_trigger("msg", "recorded-onboarding", "AzureWebJobsStorage")
def onboard(msg: func.QueueMessage) -> None:
    if msg.get_body() == b"fail":
        raise RuntimeError("failed as asked")


@app.timer_trigger("timer", "0 0 0 1 1 *")
def every_minute(timer: func.TimerRequest) -> None:
    """It keeps the name that was recorded; nothing waits for it."""
    print(f"timer {json.dumps(timer.schedule_status)}", flush=True)  # type: ignore[attr-defined] # noqa: T201 - tests wait for it


@app.event_grid_trigger("event")
def grid(event: func.EventGridEvent) -> None:
    if event.get_json().get("fail"):
        raise RuntimeError("failed as asked")
