from __future__ import annotations

import azure.functions as func

app = func.FunctionApp()


@app.route("hello")
@app.queue_output("work", "work", "AzureWebJobsStorage")
def hello(req: func.HttpRequest, work: str) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    return func.HttpResponse(work)
