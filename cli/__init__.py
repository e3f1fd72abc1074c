"""The ``bison`` command: what it takes, and what it shows."""
