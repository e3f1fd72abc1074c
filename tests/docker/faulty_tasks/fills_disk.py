"""Writes more than its disk holds, half way through its results."""

import json


def run(context):
    (context.workdir / "result.json").write_text(json.dumps({"rows": 1}))
    context.add_output(context.workdir / "result.json", f"output/{context.month.name}/result.json")
    with (context.workdir / "large").open("wb") as file:
        while True:
            file.write(bytes(1_000_000))
