from __future__ import annotations

import json

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
runs: list[dict[str, object]] = []


@app.timer_trigger("timer", "* * * * * *")
def every_second(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the trigger
    runs.append({"timer": "every_second"})


@app.timer_trigger("timer", "0 * * * * *")
def every_minute(timer: func.TimerRequest) -> None:
    status = timer.schedule_status  # type: ignore[attr-defined]
    runs.append({"timer": "every_minute", "past_due": timer.past_due, "status": status})


@app.route("runs")
def show_runs(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the trigger
    return func.HttpResponse(json.dumps(runs))
