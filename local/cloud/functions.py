"""The program's Lambda functions, run in this process: each with its own environment and role."""

from __future__ import annotations

import importlib
import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOG = logging.getLogger("bison.local.functions")

ATTEMPTS = 3
"""Lambda runs an asynchronous invocation three times at most."""


class FunctionFailedError(Exception):
    """A function failed three times with the same event; Lambda would give the event up.

    function: its name. error: the last attempt's exception.
    """

    def __init__(self, function: str, error: BaseException) -> None:
        super().__init__(f"{function} failed {ATTEMPTS} times: {type(error).__name__}: {error}")
        self.function = function
        self.error = error


@dataclass
class Function:
    """A Lambda function of the program.

    handler: ``package.module.function``. environment: its variables. role: ARN. principals: who may invoke it by its
    resource policy, as (principal, source ARN or None). credentials: its role's, as environment variables.
    """

    name: str
    arn: str
    handler: str
    environment: Mapping[str, str]
    role: str
    timeout: int = 3
    principals: list[tuple[str, str | None]] = field(default_factory=list)
    credentials: Mapping[str, str] = field(default_factory=dict)

    def may_be_invoked_by(self, principal: str, source_arn: str) -> bool:
        """Whether the function's resource policy lets an AWS service invoke it for ``source_arn``."""
        return any(who == principal and source in (None, source_arn) for who, source in self.principals)

    def run(self, event: Any) -> Any:
        """Run the handler as Lambda does for an asynchronous event, up to three times, and return its answer.

        Raises FunctionFailedError after the third failure.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._run_once(event)
            except Exception as error:
                LOG.exception("%s failed (attempt %d of %d) with %s", self.name, attempt, ATTEMPTS, event)
                if attempt == ATTEMPTS:
                    raise FunctionFailedError(self.name, error) from error
        raise AssertionError("unreachable")

    def _run_once(self, event: Any) -> Any:
        # functions.aws makes its clients anew where the environment differs, as each function's process does in AWS.
        with environment({**self.environment, **self.credentials, "AWS_LAMBDA_FUNCTION_NAME": self.name}):
            module_name, _, function_name = self.handler.rpartition(".")
            handler = getattr(importlib.import_module(module_name), function_name)
            context = SimpleNamespace(
                function_name=self.name,
                invoked_function_arn=self.arn,
                function_version="$LATEST",
                memory_limit_in_mb=128,
                aws_request_id="local",
                get_remaining_time_in_millis=lambda: self.timeout * 1000,
            )
            return handler(event, context)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Replace this process's AWS and BISON variables by those given, for a while."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AWS_", "BISON_")):
            del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
