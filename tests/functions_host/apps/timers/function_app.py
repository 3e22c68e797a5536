from __future__ import annotations

import json
import os

import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger("timer", "* * * * * *")
@app.queue_output("tick", "%SITE%-ticks", "AzureWebJobsStorage")
def every_second(timer: func.TimerRequest, tick: func.Out[str]) -> None:  # noqa: ARG001 - the trigger
    tick.set(os.environ["WEBSITE_INSTANCE_ID"])


@app.timer_trigger("timer", "%YEARLY%", run_on_startup=True)
@app.queue_output("start", "%SITE%-starts", "AzureWebJobsStorage")
def yearly(timer: func.TimerRequest, start: func.Out[str]) -> None:
    status = timer.schedule_status  # type: ignore[attr-defined]
    start.set(json.dumps({"past_due": timer.past_due, "status": status}))
