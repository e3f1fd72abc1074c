from __future__ import annotations

import boto3
import pytest
from annotation_world import BUCKET, GBIF_BUCKET, new_world
from moto import mock_aws


@pytest.fixture(scope="module")
def aws():
    """AWS by moto in this process, with credentials that reach nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        with mock_aws():
            yield boto3.client("s3")


@pytest.fixture
def world(aws):
    """The two buckets with a month's input and nothing else."""
    for bucket in (entry["Name"] for entry in aws.list_buckets()["Buckets"]):
        for entry in aws.list_objects_v2(Bucket=bucket).get("Contents", ()):
            aws.delete_object(Bucket=bucket, Key=entry["Key"])
        aws.delete_bucket(Bucket=bucket)
    for bucket in (BUCKET, GBIF_BUCKET):
        aws.create_bucket(Bucket=bucket)
    return new_world(aws)
