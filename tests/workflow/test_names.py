import re

import pytest

from workflow import names
from workflow.month import Month

NOVEMBER = Month(2026, 11)


def test_keys_are_those_of_the_design() -> None:
    assert names.success_key(NOVEMBER, "annotate_riis") == "run/2026_11_01/annotate_riis/success.json"
    assert names.failure_key(NOVEMBER, "calc_stats") == "run/2026_11_01/calc_stats/failure.json"
    assert names.output_key(NOVEMBER, "report.html") == "output/2026_11_01/report.html"
    assert names.summary_key(NOVEMBER, "snapshot.json") == "summary/2026_11_01/snapshot.json"
    assert names.log_key(NOVEMBER, "annotate_riis", 2, "task.log") == "log/2026_11_01/annotate_riis/2/task.log"
    assert names.annotated_riis_key("input/US-RIIS.v2.csv", NOVEMBER) == "input/US-RIIS.v2_annotated_2026_11_01.csv"
    assert names.snapshot_parquet_prefix(NOVEMBER) == "occurrence/2026-11-01/occurrence.parquet/"


def test_a_marker_key_reads_back() -> None:
    month, step, outcome = names.parse_run_key("run/2026_11_01/create_bison/failure.json")
    assert (month, step.name, outcome) == (NOVEMBER, "create_bison", "failure")


@pytest.mark.parametrize(
    "key",
    [
        "run/2026_11_01/create_bison/other.json",
        "run/2026_11_01/success.json",
        "log/2026_11_01/create_bison/success.json",
        "run/2026_11_01/no_such_step/success.json",
        "run/november/create_bison/success.json",
        "run/2026_11_01/create_bison/1/success.json",
    ],
)
def test_what_is_no_marker_starts_nothing(key: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        names.parse_run_key(key)


def test_functions_of_two_stacks_in_one_account_differ() -> None:
    assert names.function_name(names.stack_prefix("prod"), "annotate_riis") == "bison_s1_annotate_riis"
    assert names.function_name(names.stack_prefix("dev"), "annotate_riis") == "bison_dev_s1_annotate_riis"
    assert names.function_name("bison", "find_current_gbif") == "bison_find_current_gbif"


def test_a_statement_name_reads_back_and_its_token_fits_the_data_api() -> None:
    statement = names.StatementName("bison", NOVEMBER, "create_bison", 3, 1)
    assert str(statement) == "bison/2026_11_01/create_bison/3/1"
    assert names.StatementName.parse(str(statement)) == statement
    assert re.fullmatch(r"[0-9a-f]{64}", statement.client_token)


def test_another_attempt_index_or_month_is_another_token() -> None:
    tokens = {
        names.StatementName(prefix, month, "create_bison", index, attempt).client_token
        for prefix in ("bison", "bison_dev")
        for month in (NOVEMBER, NOVEMBER.next)
        for index in (1, 11)
        for attempt in (1, 11)
    }
    assert len(tokens) == 16


@pytest.mark.parametrize("text", ["", "bison", "bison/2026_11_01/create_bison/3", "/2026_11_01/create_bison/3/1"])
def test_a_foreign_statement_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no statement of ours"):
        names.StatementName.parse(text)


def test_instance_tags_say_which_run_it_is() -> None:
    assert names.instance_tags("dev", NOVEMBER, "calc_stats", 2) == {
        "bison:stack": "dev",
        "bison:month": "2026_11_01",
        "bison:step": "calc_stats",
        "bison:attempt": "2",
    }
