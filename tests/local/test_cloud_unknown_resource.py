"""A program that asks for what the local run does not know is stopped, and leaves nothing behind."""

from __future__ import annotations

import boto3
import pytest
from moto.moto_api._internal.models import moto_api_backend

from local.cloud.program import UnknownResourceError, execute

PROGRAM = """
import pulumi_aws as aws

queue = aws.sqs.Queue("q", name="q")
aws.rds.Instance("database", instance_class="db.t4g.micro", tags={"queue": queue.arn})
"""
LOOKUP = """
import pulumi_aws as aws

aws.kms.get_alias(name="alias/aws/s3")
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PROGRAM, r"'database' of type aws:rds/instance:Instance, which the local run does not know"),
        (LOOKUP, r"looks up aws:kms/getAlias:getAlias, which the local run cannot answer"),
    ],
)
def test_what_nobody_thought_of_stops_the_program(tmp_path, text, message):
    """Remembered in silence, it would be missed only in AWS."""
    from moto import mock_aws

    (tmp_path / "main.py").write_text(text)
    moto_api_backend.reset()
    with mock_aws(), pytest.raises(UnknownResourceError, match=message):
        execute(
            tmp_path / "main.py",
            project="bison",
            stack="local",
            config={},
            client=lambda service: boto3.client(service, region_name="us-east-1"),
        )
