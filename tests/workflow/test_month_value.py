import pytest

from workflow.month import Month


@pytest.mark.parametrize(
    "text", ["2026-11", "2026_11_01", "2026-11-30", "2026-11-02T12:00:00Z", " 2026-11 ", "2026-11-02T23:59:59-10:00"]
)
def test_every_form_of_a_month_is_the_same_month(text: str) -> None:
    month = Month.parse(text)
    assert (month.name, month.snapshot_date, str(month)) == ("2026_11_01", "2026-11-01", "2026-11")


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-00", "2026-02-30", "11-2026", "november", "2026-11x"])
def test_what_is_no_month_is_refused_in_words_that_name_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no (month|date)"):
        Month.parse(text)


def test_previous_and_next_cross_the_year() -> None:
    assert Month(2026, 1).previous == Month(2025, 12)
    assert Month(2025, 12).next == Month(2026, 1)
    assert Month(2025, 12) < Month(2026, 1)
