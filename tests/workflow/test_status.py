import pytest

from workflow import status


@pytest.mark.parametrize(
    ("degree", "expected"),
    [
        ("established (category C3)", "introduced"),
        ("invasive (category D2)", "invasive"),
        ("widespread invasive (category E)", "invasive"),
        ("Introduced", "introduced"),
        ("Invasive", "invasive"),
        (" Widespread  Invasive ", "invasive"),
    ],
)
def test_degrees_of_both_versions(degree: str, expected: str) -> None:
    assert status.assess(degree) == expected


@pytest.mark.parametrize("degree", ["", "native", "captive (category B1)"])
def test_an_unknown_degree_is_never_a_status(degree: str) -> None:
    with pytest.raises(ValueError, match="degreeOfEstablishment"):
        status.assess(degree)


@pytest.mark.parametrize(
    ("key", "in_col_xr", "in_backbone"),
    [
        ("5WZLF", True, False),
        ("35", True, True),  # all digits, and valid in both
        ("0", False, False),
        ("3189845", False, True),  # a leftover backbone key holds a 1 or a 0
        ("vYOrvZV81KuK9xP9V-W", False, False),  # a temporary key
        ("", False, False),
        (None, False, False),
        ("5WZLF\n", False, False),
        ("-5", False, False),
    ],
)
def test_usable_keys(key: str | None, in_col_xr: bool, in_backbone: bool) -> None:
    assert status.COL_XR.is_usable(key) is in_col_xr
    assert status.BACKBONE.is_usable(key) is in_backbone


def test_an_unknown_checklist_is_refused_with_those_there_are() -> None:
    assert status.get_checklist(status.COL_XR.key) is status.COL_XR
    with pytest.raises(ValueError, match=status.BACKBONE.key):
        status.get_checklist("other")
