"""The timers' doors: devices whose hint was lost are brought back, and everything is swept."""

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


@blueprint.function_name("sweep")
@blueprint.timer_trigger(schedule="0 17 * * * *", arg_name="timer", run_on_startup=False)
async def sweep(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name
    """Compare everything there is with the records, and see to it."""
    application = await runtime.application()
    await application.sweeper.run()
