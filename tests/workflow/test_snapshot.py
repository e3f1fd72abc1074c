import pytest

from workflow.snapshot import NEEDED_COLUMNS, Column, Snapshot, kind_of, redshift_type


@pytest.mark.parametrize(
    ("parquet", "redshift"),
    [
        ("string", "VARCHAR(65535)"),
        ("int32", "INT"),
        ("int64", "BIGINT"),
        ("double", "DOUBLE PRECISION"),
        ("timestamp[ms]", "TIMESTAMP"),
        ("timestamp[us, tz=UTC]", "TIMESTAMP"),
        ("list<element: string>", "SUPER"),
    ],
)
def test_types(parquet: str, redshift: str) -> None:
    assert redshift_type(parquet) == redshift


def test_a_type_without_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="decimal128"):
        redshift_type("decimal128(38, 2)")


def test_keys_may_be_integers_as_they_were() -> None:
    assert kind_of("int32") in NEEDED_COLUMNS["taxonkey"]
    assert kind_of("large_string") in NEEDED_COLUMNS["taxonkey"]
    assert kind_of("string") not in NEEDED_COLUMNS["decimallatitude"]


def test_a_description_reads_back() -> None:
    snapshot = Snapshot(
        "2026_11_01", "s3://b/p/", 2, 100, 7, (Column("order", "string", "VARCHAR(65535)"),),
        "key", "name", "2026-10-01", "[1-9][0-9]*", 5, 0.2, 0.0,
    )  # fmt: skip
    assert Snapshot.from_json(snapshot.to_json()) == snapshot
