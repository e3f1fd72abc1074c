"""Works until it is told to stop."""

import time


def run(context):
    context.log.info("working")
    while True:
        time.sleep(0.2)
