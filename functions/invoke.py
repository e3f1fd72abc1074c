"""One function starting another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from functions.aws import client
from workflow import names

if TYPE_CHECKING:
    from functions.events import ByHand
    from workflow.environment import FunctionSettings
    from workflow.steps import Step


def invoke_step(settings: FunctionSettings, step: Step, event: ByHand) -> None:
    """Call the step's function without waiting for its answer. AWS's errors pass through."""
    client("lambda").invoke(
        FunctionName=names.function_name(settings.prefix, step.name),
        InvocationType="Event",
        Payload=json.dumps(event.to_json()).encode(),
    )
