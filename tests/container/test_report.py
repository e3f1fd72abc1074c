"""What the report says of a small month, and that it stays small, safe and whole for any other."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import stats_month as month
from stats_month import make_context, put_month

from container.manifest import make_manifest
from container.report import class_breaks, classify, render_report
from container.report.content import CountyShare, county_shares, make_content, percent
from container.report.county_map import CountyMap, CountyShape, read_county_map
from container.report.inputs import ReportTables, read_report_tables
from container.statistics import DiversityStatistics
from container.task import TaskError

DIVERSITY = [
    (1, DiversityStatistics(4, 3, 12 / 7, 1.25, 2.75, 3 / 11, 0.25), ""),
    (3, DiversityStatistics(1, 1, 1.0, 0.0, 0.0, None, None), "_min3"),
]


@pytest.fixture
def context(aws, tmp_path):
    put_month(aws, tmp_path)
    return make_context(aws, tmp_path)


def render(context, **tables) -> str:
    manifest = make_manifest(context)
    read = read_report_tables(context, manifest)
    return render_report(
        manifest,
        ReportTables(**(vars(read) | tables)),
        read_county_map(month.write_counties(context.workdir)),
        DIVERSITY,
    )


class Page(HTMLParser):
    """Text, links and the balance of tags."""

    VOID = ("meta", "input", "br", "link", "rect", "circle")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_headlines_say_what_changed(context):
    content = make_content(make_manifest(context), read_report_tables(context, make_manifest(context)), DIVERSITY)
    assert content.headlines == [
        "1 invasive species was newly recorded in states that had no record of it in October 2026: "
        "2 new state records, most of all Bromus tectorum in Kansas (9 records).",
        "No introduced species was new to a state since October 2026.",
        "1 species has another identifier at GBIF than in October 2026. This is no change in nature; the report keeps "
        "it apart.",
        "Alabama has the highest share of introduced and invasive species among those recorded: 100.0%. "
        "The median state has 50.0%.",
        "The watch list names 1 arrival that may come next to 1 state; Georgia has the longest list (1 species).",
        "76.0% of the 50 US records could be given a status; 90.0% of the register's records were found in GBIF's "
        "taxonomy.",
    ]
    assert content.figures[0][0] == 27
    assert [number for number, _ in content.figures[2:]] == [3, 1, 1]


def test_changes_of_key_are_told_apart(context):
    """A renamed species in the table of new ones would be an arrival that never was."""
    content = make_content(make_manifest(context), read_report_tables(context, make_manifest(context)), DIVERSITY)
    assert content.changes is not None
    assert [row[:4] for row in content.changes.key_changes.rows] == [("Alabama", "Acer ginnala", "9", "35")]
    assert [table.caption for table in content.changes.nature] == ["New in a state: invasive species"]
    assert content.changes.totals.rows == [
        ("States", 3, 0, 0, 1),
        ("Counties", 0, 1, 0, 0),
        ("Tribal areas", 0, 0, 0, 0),
    ]


def test_first_month_says_so(aws, tmp_path):
    put_month(aws, tmp_path, previous=None, empty=("whats_new",))
    words = Page(render(make_context(aws, tmp_path))).words()
    assert "first month with results" in words
    assert "There is no month before this one to compare with" in words
    assert "newly recorded" not in words


def test_everything_from_data_is_escaped(context):
    html = render(context)
    assert "Carex <alba>" not in html
    assert "Allen <County>" not in html
    assert "KS Allen &lt;County&gt;: 25.0%" in html
    Page(html)


def test_one_file_without_network(context):
    """A script, font, image or style from elsewhere would be missing where the report is read, or tell who reads it."""
    page = Page(render(context))
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object")
        assert "src" not in attributes
        if "href" in attributes and tag != "a":
            pytest.fail(f"{tag} loads {attributes['href']}")
    assert not re.search(r"@import|url\((?!#)", render(context))


def test_every_table_has_a_caption_and_every_section_a_heading(context):
    page = Page(render(context))
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(tag == "caption" for tag, _ in page.tags) > 5
    identifiers = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    labelled = [attributes["aria-labelledby"] for tag, attributes in page.tags if tag == "section"]
    assert len(labelled) > 5
    assert set(labelled) <= identifiers
    assert {href[1:] for tag, a in page.tags if (href := a.get("href", "")).startswith("#")} <= identifiers


def test_links_name_files_of_the_month(context):
    files = {
        a["href"] for tag, a in Page(render(context)).tags if tag == "a" and not a["href"].startswith(("#", "http"))
    }
    assert {"state_counts.csv", "county_counts.csv", "whats_new.csv", "watch_list.csv", "riis_review.csv"} <= files
    assert {"site_stats.csv", "species_stats_min3.csv", "manifest.json"} <= files


def test_months_of_any_size_stay_short(context):
    """A real month has hundreds of thousands of changes: the report names the file instead of holding them."""
    many = 20_000
    whats_new = month.tables()["whats_new"].take([0] * many)
    review = month.tables()["riis_review"].take([0, 1] * (many // 2))
    html = render(context, whats_new=whats_new, riis_review=review)
    assert len(html) < 150_000
    words = Page(html).words()
    assert "The first 15 of 20,000 rows. All of them: whats_new.csv" in words
    assert "The first 15 of 20,000 rows. All of them: riis_review.csv" in words


def test_reasons_are_grouped_without_the_name_in_them(context):
    content = make_content(make_manifest(context), read_report_tables(context, make_manifest(context)), DIVERSITY)
    assert [(bar.label, bar.rows, example) for bar, example in content.review] == [
        ("only the genus …", 2, "Acer mirum"),
    ]


def test_empty_tables_are_no_fault(aws, tmp_path):
    """UNLOAD writes no file for a table without rows."""
    put_month(aws, tmp_path, empty=("aiannh_counts", "whats_new", "watch_list"))
    words = Page(render(make_context(aws, tmp_path))).words()
    assert "No state has an invasive species next door" in words
    assert "No invasive species was new to a state since October 2026" in words
    assert "The list is empty this month" in words


def test_missing_results_and_columns_are_named(context):
    table = month.tables()["watch_list"].drop_columns(["species"])
    month.put_table(context.s3, "watch_list", table)
    with pytest.raises(TaskError, match=r"output/2026_11_01/watch_list\.parquet has no column species"):
        render(context)
    context.s3.delete_object(Bucket=month.BUCKET, Key="output/2026_11_01/watch_list.parquet")
    with pytest.raises(TaskError, match=r"watch_list\.parquet is missing"):
        render(context)


def test_territories_have_no_share():
    """The register covers no territory: a share of 0 there would read as no invasive species."""
    shares = county_shares(month.tables()["county_counts"])
    assert shares["72001"].share is None
    assert "not in the register" in shares["72001"].text
    assert shares["01001"] == CountyShare(
        1.0, "AL Autauga County: 100.0% (2 of 2 species) introduced or invasive; 5 records."
    )


def test_map_classes_hold_each_county_once():
    shapes = tuple(CountyShape(f"{n:05d}", f"County {n}", "KS", "M0,0l1,0z") for n in range(20))
    shares = {f"{n:05d}": CountyShare(n / 20, f"text {n}") for n in range(18)}
    shares["00018"] = CountyShare(None, "territory")
    classes = classify(CountyMap(shapes, ""), shares)
    assert [len(each.paths) for each in classes] == [3, 3, 3, 3, 3, 3, 1, 1]
    assert [text for _, text in classes[0].paths] == ["text 0", "text 1", "text 2"]
    assert classes[0].label == "under 14%"
    assert classes[-1].paths[0][1] == "KS County 19: no records."


@pytest.mark.parametrize(
    ("shares", "breaks"),
    [([], []), ([0.2] * 50, []), ([0.0, 1.0], [0.17, 0.33, 0.5, 0.67, 0.83]), ([0.0] * 90 + [0.5] * 10, [])],
)
def test_class_breaks(shares, breaks):
    """Equal shares must not make empty or reversed classes."""
    assert class_breaks(shares) == breaks


def test_one_class_for_equal_shares():
    shape = CountyShape("00001", "One", "KS", "M0,0l1,0z")
    first = classify(CountyMap((shape,), ""), {"00001": CountyShare(0.2, "text")})[0]
    assert (first.label, len(first.paths)) == ("all counties", 1)


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0.0%"), (0.0004, "under 0.1%"), (0.1234, "12.3%"), (0.9996, "over 99.9%"), (1, "100.0%")]
)
def test_percent_never_rounds_to_none_or_all(share, words):
    assert percent(share) == words
