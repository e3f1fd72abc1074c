"""Clients are kept, but never across another role: the local run calls all functions in one process."""

from __future__ import annotations

import pytest

from functions import aws


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAFIRST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def test_a_client_is_made_once() -> None:
    assert aws.client("s3") is aws.client("s3")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ACCESS_KEY_ID", "AKIASECOND"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_DEFAULT_REGION", "us-west-2"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:5000"),
    ],
)
def test_another_environment_gets_another_client(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A client kept from the function before would act in that function's role, and hide a missing right."""
    before = aws.client("s3")
    monkeypatch.setenv(name, value)
    assert aws.client("s3") is not before
