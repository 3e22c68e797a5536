from __future__ import annotations

import azure.functions as func

app = func.FunctionApp()


@app.route("hello")
def hello(req: func.HttpRequest, database: str) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    return func.HttpResponse(database)
