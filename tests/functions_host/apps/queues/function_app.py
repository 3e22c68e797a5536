from __future__ import annotations

import json

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
seen: list[dict[str, object]] = []


@app.queue_trigger("message", "orders", "AzureWebJobsStorage")
def order(message: func.QueueMessage) -> None:
    content = message.get_body().decode()
    if content.startswith("fail"):
        raise ValueError("cannot be done")
    inserted, hidden_until = message.insertion_time, message.time_next_visible
    assert inserted is not None
    assert hidden_until is not None
    seen.append(
        {
            "content": content,
            "id": message.id,
            "attempts": message.dequeue_count,
            "hidden_seconds": (hidden_until - inserted).total_seconds(),
            "expires": message.expiration_time is not None,
            "receipt": bool(message.pop_receipt),
        }
    )


@app.route("seen")
def show_seen(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    return func.HttpResponse(json.dumps(seen))
