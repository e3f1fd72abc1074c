"""The data bucket: a month's inputs, results, logs and markers."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from workflow import names

NONCURRENT_DAYS = 30
"""How long an overwritten or deleted object can be brought back. A month's files take a few GB: this costs cents."""

LOG_DAYS = 400
"""Logs of the same month last year stay comparable."""


@dataclass(frozen=True)
class DataBucketArgs:
    """name: of the bucket, a contract (``names.bucket_name``). protect: refuse to delete it with the stack."""

    name: pulumi.Input[str]
    protect: bool


class DataBucket(pulumi.ComponentResource):
    """Versioned, encrypted, private, TLS only; every change of an object goes to EventBridge."""

    def __init__(self, name: str, args: DataBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("bison:bucket:DataBucket", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=args.name,
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect, retain_on_delete=args.protect),
        )
        self.name = self.bucket.bucket
        self.arn = self.bucket.arn

        versioning = aws.s3.BucketVersioning(
            f"{name}-versioning",
            bucket=self.name,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=child,
        )
        # S3's own keys: nothing here is secret, and a KMS key would have to be paid and granted to everybody.
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=self.name,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                        sse_algorithm="AES256"
                    )
                )
            ],
            opts=child,
        )
        private = aws.s3.BucketPublicAccessBlock(
            f"{name}-private",
            bucket=self.name,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketPolicy(
            f"{name}-tls-only",
            bucket=self.name,
            policy=pulumi.Output.json_dumps(self.arn.apply(tls_only_policy)),
            # S3 refuses to change both at once.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[private]),
        )
        everything = aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix="")
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=self.name,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="aborted-uploads",
                    status="Enabled",
                    filter=everything,
                    abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                        days_after_initiation=7
                    ),
                ),
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="old-versions",
                    status="Enabled",
                    filter=everything,
                    noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                        noncurrent_days=NONCURRENT_DAYS
                    ),
                ),
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="logs",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=names.LOG),
                    expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=LOG_DAYS),
                ),
            ],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        self.events = aws.s3.BucketNotification(f"{name}-events", bucket=self.name, eventbridge=True, opts=child)
        self.register_outputs({"name": self.name, "arn": self.arn})


def tls_only_policy(bucket_arn: str) -> dict[str, object]:
    """Refuse every request without TLS, whoever makes it."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [bucket_arn, f"{bucket_arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }
