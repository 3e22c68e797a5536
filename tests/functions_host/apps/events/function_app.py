from __future__ import annotations

import json

import azure.functions as func

app = func.FunctionApp()
seen: list[str] = []


@app.event_grid_trigger("event")
def device_event(event: func.EventGridEvent) -> None:
    if event.subject == "fail":
        raise ValueError("cannot be done")
    seen.append(f"{event.event_type} {event.subject}")


@app.event_grid_trigger("event")
def cloud_event(event: func.CloudEvent) -> None:
    seen.append(f"{event.type} {event.subject}")


@app.route("seen", auth_level=func.AuthLevel.ANONYMOUS)
def show_seen(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")
