"""Never ends and does not listen to SIGTERM, like a library that waits in C."""

import signal
import time


def run(context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.log.info("working")
    while True:
        time.sleep(0.2)
