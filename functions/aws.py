"""boto3 clients: made when first asked for, kept as long as the process keeps its AWS environment."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, overload

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_redshift_data import RedshiftDataAPIServiceClient
    from mypy_boto3_s3 import S3Client

_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=30)


@overload
def client(service: Literal["s3"]) -> S3Client: ...
@overload
def client(service: Literal["ec2"]) -> EC2Client: ...
@overload
def client(service: Literal["lambda"]) -> LambdaClient: ...
@overload
def client(service: Literal["redshift-data"]) -> RedshiftDataAPIServiceClient: ...
def client(service: str) -> Any:
    """The client of a service for the credentials, region and endpoint that the environment has now."""
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    return _client(service, environment)


# In Lambda the environment never changes; the local run calls every function in one process, each under its own role.
@lru_cache(maxsize=64)
def _client(service: str, _environment: tuple[tuple[str, str], ...]) -> Any:
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    return boto3.session.Session(botocore_session=session).client(service, config=_CONFIG)  # type: ignore[call-overload]


@lru_cache
def _loader() -> Loader:
    """AWS's service descriptions, read once a process: a session of its own would read these megabytes again."""
    return Loader()


def error_code(error: ClientError) -> str:
    """AWS's code of the error: ``NoSuchKey``, ``ValidationException``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_text(error: ClientError) -> str:
    """Code and message, for people."""
    return f"{error_code(error)}: {error.response.get('Error', {}).get('Message', 'no message')}"
