"""The policy: what the template makes of its parameters is one that firstpull takes."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import ValidationError

from firstpull.policy import Policy
from tools.check_infra.findings import Finding
from tools.check_infra.values import NotKnown, Scope

_VARIABLE = "wholePolicy"


def check_policy(main: Scope) -> Iterator[Finding]:
    """The policy that main.bicep puts together, read as the app reads it."""
    try:
        Policy.model_validate_json(json.dumps(main.named(_VARIABLE)))
    except NotKnown as reason:
        yield Finding("main.bicep", 1, f"{_VARIABLE} cannot be computed, for {reason}")
    except ValidationError as error:
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"])
            yield Finding("main.bicep", 1, f"the policy: {place}: {problem['msg']}")
