from __future__ import annotations

import functools
import ssl

import boto3
import pytest
from annotation_world import BUCKET, GBIF_BUCKET, new_world
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends


@pytest.fixture(scope="session", autouse=True)
def _one_ssl_context():
    """Reading the authorities' certificates takes as long as a small test, and no test speaks TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="module")
def aws():
    """AWS by moto in this process, with credentials that reach nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        with mock_aws():
            s3 = boto3.client("s3")
            for bucket in (BUCKET, GBIF_BUCKET):
                s3.create_bucket(Bucket=bucket)
            yield s3


@pytest.fixture
def world(aws):
    """The two buckets with a month's input and nothing else."""
    for bucket in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets.values():
        bucket.keys.clear()
    return new_world(aws)
