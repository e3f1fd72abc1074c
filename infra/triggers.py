"""Triggers: which event starts which function. Each rule matches events of this stack only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra.permissions import SWEEP, WATCHER, dead_letters_policy, scheduler_policy, trust_policy
from workflow import names
from workflow.steps import FIRST_STEP, STEPS, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.settings import Settings

Pattern = dict[str, Any]

CHECK_SCHEDULE = "cron(0/40 12 2-31 * ? *)"
"""At 12:00 and 12:40 from the 2nd on: two listings of the snapshot, far enough apart to be compared on one day."""

SWEEP_SCHEDULE = "rate(30 minutes)"

SCHEDULED_TIME = json.dumps({"time": "<aws.scheduler.scheduled-time>"})
"""Scheduler puts in the time; a function never asks the clock which month it is."""

EVENT_AGE_SECONDS = 60 * 60
"""How long to try a delivery (AWS: 24 h). A month's step that starts hours late is better found by the sweep."""

DELIVERY_RETRIES = 20


def marker_pattern(bucket: str, after: tuple[str, ...]) -> Pattern:
    """The arrival of a success marker of one of the steps ``after``, whatever the month."""
    return _created(bucket, [{"wildcard": f"{names.RUN}*/{step}/success.json"} for step in after])


def trigger_file_pattern(bucket: str) -> Pattern:
    """The arrival of a file under ``trigger/``."""
    return _created(bucket, [{"prefix": names.TRIGGER}])


def statement_pattern(prefix: str, step: str) -> Pattern:
    """The end of a statement of a SQL step.

    ``resources`` is left out on purpose: AWS does not document what it holds for Redshift Serverless.
    """
    return {
        "source": ["aws.redshift-data"],
        "detail-type": ["Redshift Data Statement Status Change"],
        "detail": {"statementName": [{"wildcard": names.statement_pattern(prefix, step)}]},
    }


def instance_end_pattern() -> Pattern:
    """The end of any instance of the account: EC2's events carry no tags, so the watcher asks whose it is."""
    return {
        "source": ["aws.ec2"],
        "detail-type": ["EC2 Instance State-change Notification"],
        "detail": {"state": ["shutting-down", "stopped", "terminated"]},
    }


def interruption_pattern() -> Pattern:
    """Two minutes' notice that Spot takes an instance of the account back."""
    return {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]}


def _created(bucket: str, keys: list[Pattern]) -> Pattern:
    return {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, "object": {"key": keys}},
    }


class DeadLetters(pulumi.ComponentResource):
    """The queue for events that could not be delivered or whose function failed for good: each is a step to look at."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("bison:triggers:DeadLetters", name, None, opts)
        self.queue = aws.sqs.Queue(
            f"{name}-queue",
            message_retention_seconds=14 * 24 * 60 * 60,  # SQS's longest
            sqs_managed_sse_enabled=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = self.queue.arn
        self.register_outputs({"url": self.queue.url})


@dataclass(frozen=True)
class TriggersArgs:
    """bucket: name of the data bucket. functions: by step's name, WATCHER and SWEEP. dead_letters: the stack's."""

    settings: Settings
    bucket: pulumi.Input[str]
    functions: Mapping[str, aws.lambda_.Function]
    dead_letters: aws.sqs.Queue


class Triggers(pulumi.ComponentResource):
    """Rules for markers, trigger files, statements and instances; schedules for the check and the sweep."""

    def __init__(self, name: str, args: TriggersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("bison:triggers:Triggers", name, None, opts)
        self._name, self._args = name, args
        prefix = args.settings.prefix
        bucket = pulumi.Output.from_input(args.bucket)
        self.rules: list[aws.cloudwatch.EventRule] = []

        self._rule("trigger-file", FIRST_STEP, "A file under trigger/", bucket.apply(trigger_file_pattern))
        for step in STEPS:
            if step.after:
                pattern = bucket.apply(partial(marker_pattern, after=step.after))
                self._rule(f"start-{step.name}", step.name, f"Success of {' or '.join(step.after)}", pattern)
            if step.kind is Kind.SQL:
                pattern = pulumi.Output.from_input(statement_pattern(prefix, step.name))
                self._rule(f"statement-{step.name}", step.name, "The end of one of its statements", pattern)
        end, interruption = instance_end_pattern(), interruption_pattern()
        self._rule("instance-end", WATCHER, "The end of an instance", pulumi.Output.from_input(end))
        self._rule("interruption", WATCHER, "Spot takes an instance back", pulumi.Output.from_input(interruption))
        aws.sqs.QueuePolicy(
            f"{name}-dead-letters",
            queue_url=args.dead_letters.url,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(args.dead_letters.arn, [rule.arn for rule in self.rules]).apply(
                    lambda of: dead_letters_policy(*of)
                )
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._schedules({FIRST_STEP: CHECK_SCHEDULE, SWEEP: SWEEP_SCHEDULE})
        self.register_outputs({"rules": [rule.name for rule in self.rules]})

    def _rule(self, label: str, function: str, title: str, pattern: pulumi.Output[Pattern]) -> None:
        """One rule with its one target, and the permission for just this rule to call it."""
        name, target = f"{self._name}-{label}", self._args.functions[function]
        child = pulumi.ResourceOptions(parent=self)
        rule = aws.cloudwatch.EventRule(
            name,
            description=f"{title} starts {function}.",
            event_pattern=pulumi.Output.json_dumps(pattern),
            state="ENABLED",
            opts=child,
        )
        permission = aws.lambda_.Permission(
            f"{name}-permission",
            function=target.name,
            action="lambda:InvokeFunction",
            principal="events.amazonaws.com",
            source_arn=rule.arn,
            opts=child,
        )
        aws.cloudwatch.EventTarget(
            f"{name}-target",
            rule=rule.name,
            arn=target.arn,
            retry_policy=aws.cloudwatch.EventTargetRetryPolicyArgs(
                maximum_event_age_in_seconds=EVENT_AGE_SECONDS, maximum_retry_attempts=DELIVERY_RETRIES
            ),
            dead_letter_config=aws.cloudwatch.EventTargetDeadLetterConfigArgs(arn=self._args.dead_letters.arn),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[permission]),
        )
        self.rules.append(rule)

    def _schedules(self, schedules: Mapping[str, str]) -> None:
        """One schedule for each function, in a group of the stack's own."""
        name, args = self._name, self._args
        child = pulumi.ResourceOptions(parent=self)
        group = aws.scheduler.ScheduleGroup(f"{name}-schedules", opts=child)
        role = aws.iam.Role(
            f"{name}-scheduler-role",
            description="EventBridge Scheduler: starts the check and the sweep.",
            assume_role_policy=pulumi.Output.json_dumps(
                group.arn.apply(
                    lambda arn: trust_policy(
                        "scheduler.amazonaws.com", conditions={"ArnEquals": {"aws:SourceArn": arn}}
                    )
                )
            ),
            opts=child,
        )
        policy = aws.iam.RolePolicy(
            f"{name}-scheduler-policy",
            role=role.name,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(
                    [args.functions[function].arn for function in schedules], args.dead_letters.arn
                ).apply(lambda of: scheduler_policy(*of))
            ),
            opts=child,
        )
        for function, expression in schedules.items():
            aws.scheduler.Schedule(
                f"{name}-{function}",
                group_name=group.name,
                schedule_expression=expression,
                schedule_expression_timezone=args.settings.schedule_timezone,
                flexible_time_window=aws.scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
                state="ENABLED",
                target=aws.scheduler.ScheduleTargetArgs(
                    arn=args.functions[function].arn,
                    role_arn=role.arn,
                    input=SCHEDULED_TIME,
                    retry_policy=aws.scheduler.ScheduleTargetRetryPolicyArgs(
                        maximum_event_age_in_seconds=EVENT_AGE_SECONDS, maximum_retry_attempts=DELIVERY_RETRIES
                    ),
                    dead_letter_config=aws.scheduler.ScheduleTargetDeadLetterConfigArgs(arn=args.dead_letters.arn),
                ),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
            )
