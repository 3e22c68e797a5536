"""The timer's door: once a minute, devices whose hint was lost are brought back."""

from __future__ import annotations

import azure.functions as func

from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("enqueue_overdue")
@blueprint.timer_trigger(schedule="0 * * * * *", arg_name="timer", run_on_startup=False)
async def enqueue_overdue(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name
    """Hint every device that is overdue."""
    application = await runtime.application()
    await application.enqueue_overdue()
