"""The tasks: each module here is one, named by ``TASK_APP`` and run by ``container.entrypoint``."""
