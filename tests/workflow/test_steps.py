import pytest

from workflow import steps


def test_a_month_is_one_chain_from_the_check_to_the_report() -> None:
    chain = [steps.FIRST_STEP]
    while following := steps.steps_after(chain[-1]):
        assert len(following) == 1
        chain.append(following[0].name)
    assert chain == [
        "find_current_gbif",
        "annotate_riis",
        "load_ancillary",
        "create_bison",
        "intersect_bison",
        "assign_riis",
        "aggregate_region",
        "delete_obsolete",
        "calc_stats",
    ]
    assert [step.name for step in steps.month_steps()] == chain
    assert chain[-1] == steps.LAST_STEP


def test_the_step_run_by_hand_is_started_by_nothing() -> None:
    test_task = steps.get_step("test_task")
    assert test_task.after == ()
    assert test_task not in steps.month_steps()
    assert test_task.label == "s0_test_task"


def test_an_unknown_step_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'create' is no step.*create_bison"):
        steps.get_step("create")


def test_only_a_task_has_a_module() -> None:
    assert steps.get_step("calc_stats").task_app == "container.tasks.calc_stats"
    with pytest.raises(ValueError, match="no task"):
        _ = steps.get_step("create_bison").task_app
