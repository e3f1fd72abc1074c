"""Needs more memory than it has."""


def run(context):
    kept = []
    while True:
        kept.append(bytearray(b"x") * 16_000_000)
