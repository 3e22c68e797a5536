from __future__ import annotations

import os
import time
from pathlib import Path

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


def tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the tests wait for it, also after the process has died


@app.route("pid")
def pid(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    return func.HttpResponse(str(os.getpid()))


@app.route("die")
def die(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    os._exit(3)


@app.route("waits")
def waits(req: func.HttpRequest) -> func.HttpResponse:
    tell("wait began")
    while not Path(req.params["file"]).exists():
        time.sleep(0.02)
    tell("wait ended")
    return func.HttpResponse("done")


@app.queue_trigger("message", "shifts", "AzureWebJobsStorage")
def shift(message: func.QueueMessage) -> None:
    text, attempts = message.get_body().decode(), message.dequeue_count
    tell(f"{text} {attempts}")
    if attempts == 1 and text.startswith("hang"):
        time.sleep(300)
