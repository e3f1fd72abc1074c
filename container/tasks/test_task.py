"""Step 0, by hand: try the task machinery from the image to the marker, without any of the month's data."""

from __future__ import annotations

import json
import platform
import shutil
from typing import TYPE_CHECKING, Any

from container.task import TaskError
from workflow import names

if TYPE_CHECKING:
    from container.task import TaskContext


def run(context: TaskContext) -> dict[str, Any]:
    """Read the data bucket's register and leave ``summary/<month>/test_task.json``; the counts tell of the machine.

    Raises TaskError if the register is not where the setting says.
    """
    settings = context.settings
    register = context.download(settings.riis_key)
    if not register.stat().st_size:
        raise TaskError(f"s3://{settings.bucket}/{settings.riis_key} is empty. Upload the RIIS master list again.")
    counts: dict[str, Any] = {
        "register_bytes": register.stat().st_size,
        "free_disk_bytes": shutil.disk_usage(context.workdir).free,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    context.log.info("The machinery works: %s", counts)
    path = context.workdir / "test_task.json"
    path.write_text(json.dumps(counts, indent=2), encoding="utf-8")
    context.add_output(path, names.summary_key(context.month, path.name))
    context.progress("Trying the machinery", 1, 1)
    return counts
