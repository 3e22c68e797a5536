from __future__ import annotations

import os
import time

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


@app.route("slow")
def slow(req: func.HttpRequest) -> func.HttpResponse:
    tell("slow began")
    time.sleep(float(req.params["seconds"]))
    tell("slow ended")
    return func.HttpResponse("slept")


@app.queue_trigger("message", "shifts", "AzureWebJobsStorage")
def shift(message: func.QueueMessage) -> None:
    text, attempts = message.get_body().decode(), message.dequeue_count
    tell(f"{text} {attempts}")
    if attempts == 1 and text.startswith("hang"):
        time.sleep(60)
