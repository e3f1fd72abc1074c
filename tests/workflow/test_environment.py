import pytest

from workflow.environment import LauncherSettings, SettingError, TaskSettings

TASK = TaskSettings(
    "dev", "2026_11_01", "calc_stats", 2, "bucket", "gbif", "sha256:1", "input/riis.csv", "input/county.shp",
    "https://api.example.org/v2", "someone@example.org", presence_thresholds=(1, 3, 5), rows_change_stops=False,
)  # fmt: skip


def test_what_the_program_writes_the_task_reads() -> None:
    environ = TASK.to_environ()
    assert environ["BISON_PRESENCE_THRESHOLDS"] == "1,3,5"
    assert environ["BISON_ROWS_CHANGE_STOPS"] == "false"
    assert "BISON_CHECKLIST_KEY" not in environ
    assert TaskSettings.from_environ(environ) == TASK


def test_an_optional_number_reads_back() -> None:
    settings = LauncherSettings("image@sha256:1", ("t4g.small", "t4g.medium"), ("subnet-1",), max_price=0.01)
    assert LauncherSettings.from_environ(settings.to_environ()) == settings


def test_a_missing_variable_is_named() -> None:
    environ = TASK.to_environ()
    del environ["BISON_GBIF_API"]
    with pytest.raises(SettingError, match="BISON_GBIF_API"):
        TaskSettings.from_environ(environ)


@pytest.mark.parametrize(("variable", "value"), [("BISON_ATTEMPT", "two"), ("BISON_ROWS_CHANGE_STOPS", "yes")])
def test_a_wrong_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{variable}='{value}'"):
        TaskSettings.from_environ(TASK.to_environ() | {variable: value})
