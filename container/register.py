"""The US Register of Introduced and Invasive Species (US-RIIS): its file, its names, and what is wrong with them."""

from __future__ import annotations

import csv
import functools
import io
import re
import unicodedata
from dataclasses import dataclass

from container.task import TaskError
from workflow.regions import RIIS_REGIONS
from workflow.status import RANKS_BELOW_SPECIES, SPECIES_RANK, assess

ADDED_COLUMNS = ("accepted_key", "accepted_name", "accepted_rank", "species_key", "match_type", "reason")
"""What the annotated register has beside the register's own columns."""

_REQUIRED = ("locality", "scientificname", "degreeofestablishment", "occurrenceid")
_OPTIONAL = ("scientificnameauthorship", "taxonrank", "kingdom")
_VERSION_1_DEGREE = "introduced or invasive"
_WRITTEN = {
    "locality": "locality",
    "scientificname": "scientificName",
    "degreeofestablishment": "degreeOfEstablishment (version 1: Introduced or Invasive)",
    "occurrenceid": "occurrenceID",
}

# ---------------------------------------------------------------------------- names

_RANK_MARKERS = {
    "subsp": "subsp.", "ssp": "subsp.", "nothosubsp": "nothosubsp.", "var": "var.", "nothovar": "nothovar.",
    "subvar": "subvar.", "f": "f.", "fo": "f.", "forma": "f.", "subf": "subf.",
}  # fmt: skip
_EPITHET = re.compile(r"[^\W\d_A-Z][^\W\d_A-Z]+(?:-[^\W\d_A-Z]+)*\.?$")
_VIRUS = re.compile(r"vir(us|oid)(es|s)?\b", re.IGNORECASE)
_AUTHOR_PARTICLES = frozenset(
    (
        "al",
        "and",
        "auct",
        "da",
        "dal",
        "de",
        "del",
        "della",
        "den",
        "der",
        "des",
        "di",
        "do",
        "dos",
        "du",
        "el",
        "emend",
        "et",
        "ex",
        "in",
        "la",
        "las",
        "le",
        "los",
        "nec",
        "non",
        "sensu",
        "ten",
        "ter",
        "van",
        "vom",
        "von",
        "zu",
        "zum",
        "zur",
    ),
)
_GBIF_KINGDOMS = {"virus": "Viruses"}
_GBIF_RANKS = {
    rank: rank
    for rank in ("KINGDOM", "PHYLUM", "CLASS", "ORDER", "FAMILY", "GENUS", SPECIES_RANK, *RANKS_BELOW_SPECIES)
} | {"FORMA": "FORM"}
_SPECIES_LIKE = frozenset({"", "species", "hybrid"})


@dataclass(frozen=True)
class Name:
    """A scientific name as GBIF is asked for it.

    text: ``Acer tataricum subsp. ginnala``, hybrid signs as ``×``, without authorship. authorship: ``(Maxim.) Wesm.``
    or empty. below_species: whether it has an epithet below species rank.
    """

    text: str
    authorship: str
    below_species: bool

    @property
    def canonical(self) -> str:
        """``acer tataricum ginnala``: see the function of that name."""
        return canonical(self.text)


def parse_name(text: str, authorship: str = "") -> Name:
    """Take a name of the register apart: ``ssp.``, hybrids written with X, authorship within the name.

    A hybrid formula (``Typha angustifolia × latifolia``), a virus and a name in quotation marks stay as they are.
    """
    words = _clean(text).replace("×", " × ").split()
    words = ["×" if word in ("x", "X") and position + 1 < len(words) else word for position, word in enumerate(words)]
    authorship = _clean(authorship)
    if any(word[0] in "'\"‘“" for word in words):
        return Name(" ".join(words), authorship, below_species=True)
    if "×" in words[3:] or (words[2:3] == ["×"] and words[0] != "×") or _VIRUS.search(text):
        return Name(" ".join(words), authorship, below_species=False)
    taken: list[str] = []
    epithets = 0
    position = 0
    while position < len(words):
        word = words[position]
        marker = _RANK_MARKERS.get(word.lower().rstrip("."))
        following = words[position + 1] if position + 1 < len(words) else ""
        if not taken or taken == ["×"] or (word == "×" and _is_epithet(following)):
            taken.append(word)
        elif epithets and marker and _is_epithet(following):
            taken.append(marker)
        elif _is_epithet(word) and not (word.endswith(".") and epithets):
            taken.append(word)
            epithets += 1
        elif word.startswith("(") and word.endswith(")") and not epithets and _is_epithet(following):
            taken.append(word)
        elif (resume := _next_marker(words, position)) and epithets:
            # The species' authorship in the middle: Acer tataricum L. subsp. ginnala (Maxim.) Wesm.
            position = resume
            continue
        else:
            break
        position += 1
    return Name(" ".join(taken), authorship or " ".join(words[position:]), below_species=epithets > 1)


@functools.lru_cache(100_000)
def canonical(name: str) -> str:
    """What two spellings of one name share: the genus, the species' and the last epithet in plain lower case.

    Takes a name without authorship; rank markers, hybrid signs, subgenus, hyphens and accents are left out.

    >>> canonical("Mentha × piperita"), canonical("Acer tataricum subsp. ginnala")
    ('mentha piperita', 'acer tataricum ginnala')
    """
    for written, plain in (("×", " "), ("-", ""), ("æ", "ae"), ("œ", "oe")):
        name = name.replace(written, plain)
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(character for character in plain if not unicodedata.combining(character)).lower()
    words = [
        word
        for word in plain.split()
        if word.rstrip(".") not in _RANK_MARKERS and word != "x" and not word.startswith("(")
    ]
    return " ".join([*words[:2], *words[2:][-1:]])


def authors_agree(one: str, other: str) -> bool:
    """Whether two authorships share an author: ``(L.) Gaertn.`` and ``(Linnaeus) J.Gaertner, 1788`` do."""
    ours, theirs = _authors(one), _authors(other)
    return any(
        a == b or (min(len(a), len(b)) >= 3 and (a.startswith(b) or b.startswith(a))) for a in ours for b in theirs
    )


def _authors(text: str) -> set[str]:
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    # "L." stands for Linnaeus only by itself; before a surname it is an initial.
    plain = re.sub(r"(^|[(&,]\s*)L\.(?=\s*($|[)&,]|ex\b|f\b))", r"\1Linnaeus", plain)
    words = re.findall(r"[^\W\d_]+", plain.lower())
    return {word for word in words if len(word) > 1 and word not in _AUTHOR_PARTICLES}


def _clean(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _is_epithet(word: str) -> bool:
    return (
        _EPITHET.match(word) is not None
        and word.islower()
        and word.rstrip(".") not in _AUTHOR_PARTICLES
        and word.rstrip(".") not in _RANK_MARKERS
    )


def _next_marker(words: list[str], start: int) -> int | None:
    """Where a rank marker with an epithet behind it comes after ``start``. ``L. f.`` is no form but a son."""
    for position in range(start + 1, len(words) - 1):
        marker = _RANK_MARKERS.get(words[position].lower().rstrip("."))
        if marker and _is_epithet(words[position + 1]) and not words[position + 1].endswith("."):
            return position
    return None


# ---------------------------------------------------------------------------- the file


@dataclass(frozen=True)
class Record:
    """A record of the register.

    cells: as in the file, in its columns' order. kingdom: in GBIF's words, or empty. rank: GBIF's word where it has
    one and the name is of that rank, else empty. assessment: ``introduced``, ``invasive`` or empty. fault: why the
    record cannot be used, whatever GBIF says of its name; or empty.
    """

    cells: tuple[str, ...]
    occurrence_id: str
    locality: str
    scientific_name: str
    name: Name
    kingdom: str
    rank: str
    covers_species: bool
    assessment: str
    fault: str


@dataclass(frozen=True)
class Register:
    """columns: the file's own, in order. records: in the file's order."""

    columns: tuple[str, ...]
    records: tuple[Record, ...]


def read_register(content: bytes, source: str) -> Register:
    """Read the register's CSV, version 1 or 2; ``source`` names it in errors.

    Raises TaskError, with file, row and column, for what makes the whole file doubtful: no UTF-8, no records, a
    missing column, a row of another length, a missing or repeated occurrenceID. An unknown locality or degree of
    establishment concerns one record only: it is that record's ``fault``.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TaskError(
            f"{source} is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}. Save it as CSV UTF-8."
        ) from error
    if not text.strip():
        raise TaskError(f"{source} is empty. Upload the RIIS master list again.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = tuple(next(reader))
        position = _positions(columns, source)
        kept = [index for index, column in enumerate(columns) if column.strip().lower() not in ADDED_COLUMNS]
        records = []
        row_of: dict[str, int] = {}
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            row = reader.line_num
            if len(cells) != len(columns):
                raise TaskError(
                    f"{source}, row {row}: {len(cells)} cells where the header has {len(columns)} columns. "
                    "Look for a missing quotation mark or a stray comma."
                )
            record = _record(tuple(cells), kept, position)
            if not record.occurrence_id:
                raise TaskError(f"{source}, row {row}: the column occurrenceID is blank. Every record needs its own.")
            if record.occurrence_id in row_of:
                raise TaskError(
                    f"{source}, row {row}: the occurrenceID {record.occurrence_id} is already that of row "
                    f"{row_of[record.occurrence_id]}. Every record needs its own."
                )
            row_of[record.occurrence_id] = row
            records.append(record)
    except csv.Error as error:
        raise TaskError(f"{source}, row {reader.line_num}: this is no valid CSV ({error}).") from error
    if not records:
        raise TaskError(f"{source} has a header and no records. Upload the RIIS master list again.")
    return Register(tuple(columns[index] for index in kept), tuple(records))


def _positions(columns: tuple[str, ...], source: str) -> dict[str, int]:
    """Where each column that is used stands, by its name in lower case."""
    header = [column.strip().lower() for column in columns]
    if "degreeofestablishment" not in header:
        header = ["degreeofestablishment" if column == _VERSION_1_DEGREE else column for column in header]
    used = [name for name in (*_REQUIRED, *_OPTIONAL) if name in header]
    if missing := [_WRITTEN[name] for name in _REQUIRED if name not in used]:
        raise TaskError(
            f"{source} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}. Its header is: "
            f"{', '.join(columns)[:500]}. It must be the RIIS master list, comma-separated."
        )
    if repeated := [name for name in used if header.count(name) > 1]:
        raise TaskError(f"{source} has the column {repeated[0]} twice: it is not clear which one holds.")
    return {name: header.index(name) for name in used}


def _record(cells: tuple[str, ...], kept: list[int], position: dict[str, int]) -> Record:
    def cell(column: str) -> str:
        return _clean(cells[position[column]]) if column in position else ""

    name = parse_name(cell("scientificname"), cell("scientificnameauthorship"))
    own_rank = cell("taxonrank").lower()
    species_like = own_rank in _SPECIES_LIKE and not name.below_species
    rank = _GBIF_RANKS.get(own_rank.upper(), "")
    faults = []
    if cell("locality").upper() not in RIIS_REGIONS:
        faults.append(f"the locality {cell('locality')!r} is none of {', '.join(RIIS_REGIONS)}")
    assessment = ""
    try:
        assessment = assess(cell("degreeofestablishment"))
    except ValueError as error:
        faults.append(str(error).rstrip("."))
    if not name.text:
        faults.append("the record has no scientific name")
    kingdom = cell("kingdom")
    return Record(
        cells=tuple(cells[index] for index in kept),
        occurrence_id=cell("occurrenceid"),
        locality=cell("locality").upper(),
        scientific_name=cell("scientificname"),
        name=name,
        kingdom=_GBIF_KINGDOMS.get(kingdom.lower(), kingdom),
        rank="" if rank == SPECIES_RANK and name.below_species else rank,
        covers_species=species_like,
        assessment=assessment,
        fault="; ".join(faults),
    )
