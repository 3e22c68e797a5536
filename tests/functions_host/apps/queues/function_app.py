from __future__ import annotations

import json
from typing import List  # noqa: UP035 - the worker takes no list[str]

import azure.functions as func

app = func.FunctionApp()


@app.queue_trigger("message", "%ORDERS_QUEUE%", "Orders")
@app.queue_output("seen", "orders-seen", "Orders")
def order(message: func.QueueMessage, seen: func.Out[str]) -> None:
    content = message.get_body().decode()
    if content.startswith("fail"):
        raise ValueError("cannot be done")
    inserted, hidden_until = message.insertion_time, message.time_next_visible
    assert inserted is not None
    assert hidden_until is not None
    seen.set(
        json.dumps(
            {
                "content": content,
                "id": message.id,
                "attempts": message.dequeue_count,
                "hidden_seconds": (hidden_until - inserted).total_seconds(),
                "expires": message.expiration_time is not None,
                "receipt": bool(message.pop_receipt),
            }
        )
    )


@app.route("many", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output("several", "several", "Orders")
def many(req: func.HttpRequest, several: func.Out[List[str]]) -> func.HttpResponse:  # noqa: UP006
    several.set(req.get_json())
    return func.HttpResponse(status_code=202)


@app.queue_trigger("message", "several", "Orders")
@app.queue_output("$return", "orders-seen", "Orders")
def forward(message: func.QueueMessage) -> str:
    return f"forwarded {message.get_body().decode()}"
