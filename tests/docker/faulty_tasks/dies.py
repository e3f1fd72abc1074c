"""Its process is gone without a word."""

import os
import signal


def run(context):
    context.add_output(context.workdir, f"output/{context.month.name}/never.json")
    os.kill(os.getpid(), signal.SIGKILL)
