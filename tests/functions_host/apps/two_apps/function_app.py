from __future__ import annotations

import azure.functions as func

app = func.FunctionApp()
another = func.FunctionApp()
