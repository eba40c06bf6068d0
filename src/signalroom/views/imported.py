"""Manifests of another database, row by row: what can be taken as it is, and why what is left cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from signalroom.errors import ConfigError
from signalroom.view import Agency, CannedReport, ManifestSet, View
from signalroom.views.files import LONGEST_SLUG, check_name


@dataclass(frozen=True, slots=True)
class Left:
    """A row that is not taken.

    Attributes:
        table: Its table.
        id: Its id there.
        reason: Why, as a sentence.
    """

    table: str
    id: Any
    reason: str


def sort_out(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], held: ManifestSet, written: ManifestSet
) -> tuple[ManifestSet, tuple[Left, ...]]:
    """Return the manifests that can be taken, and the rows that cannot.

    Args:
        rows: Table -> rows, as :func:`signalroom.ledger.manifest_source.read_source` gives them.
        held: The manifests there are.
        written: Those among them that ``views/`` holds: a file wins over a table.
    """
    sorting = _Sorting(held, written)
    sorting.each("agency", rows["agency"], sorting.agency)
    sorting.settle_slugs()
    for table, take in (
        ("seeder_canned_report", sorting.canned),
        ("seeder_canned_report_manifest", sorting.assigned),
        ("seeder_custom_report_manifest", sorting.custom),
    ):
        sorting.each(table, rows[table], take)
    return sorting.taken()


@dataclass(slots=True)
class _Sorting:
    """Rows sorted so far, each against those before it and those that are there."""

    held: ManifestSet
    written: ManifestSet
    left: list[Left] = field(default_factory=list)
    agencies: dict[int, Agency] = field(default_factory=dict)
    reports: dict[int, CannedReport] = field(default_factory=dict)
    pairs: dict[tuple[int, int], int] = field(default_factory=dict)
    own: list[View] = field(default_factory=list)
    names: dict[str, tuple[str, int]] = field(default_factory=dict)
    slugs_before: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.slugs_before = {one.id: one.slug for one in self.held.agencies}

    def each(self, table: str, rows: Sequence[Mapping[str, Any]], take: Callable[[Mapping[str, Any]], None]) -> None:
        for row in rows:
            try:
                take(row)
            except ConfigError as problem:
                self.left.append(Left(table, row.get("id"), problem.message))

    def taken(self) -> tuple[ManifestSet, tuple[Left, ...]]:
        assigned = tuple((number, agency, report) for (agency, report), number in self.pairs.items())
        found = ManifestSet(tuple(self.agencies.values()), tuple(self.own), tuple(self.reports.values()), assigned)
        return found, tuple(self.left)

    def agency(self, row: Mapping[str, Any]) -> None:
        one = Agency(_number(row, "id"), _text(row, "slug"), _text(row, "name"))
        check_name(one.slug, "slug", LONGEST_SLUG)
        for other in self.agencies.values():
            _require(other.slug != one.slug or other.id == one.id, f"agency {other.id} has the slug {one.slug!r}")
        _require_unwritten(one, [other for other in self.written.agencies if other.id == one.id])
        self.agencies[one.id] = one

    def settle_slugs(self) -> None:
        """Leave agencies whose slug one keeps that is not renamed; then public names are those the slugs make.

        One that is left keeps its own slug, which another may have counted on: so until none is left any more.
        """
        while True:
            kept = {one.slug: one.id for one in self.held.agencies if one.id not in self.agencies}
            clashing = [one for one in self.agencies.values() if one.slug in kept]
            for one in clashing:
                reason = f"Agency {kept[one.slug]} has the slug {one.slug!r}."
                self.left.append(Left("agency", one.id, reason))
                del self.agencies[one.id]
            if not clashing:
                break
        called = tuple(self.agencies.get(one.id, one) for one in self.held.agencies)
        self.names = {view.name: view.key for view in replace(self.held, agencies=called).views()}

    def canned(self, row: Mapping[str, Any]) -> None:
        one = CannedReport(
            _number(row, "id"), _text(row, "table_name"), _text(row, "report_name"), _text(row, "query"),
            _database(row),
        )  # fmt: skip
        check_name(one.table_name, "table_name")
        for other in (*self.held.canned, *self.reports.values()):
            taken = other.table_name == one.table_name and other.id != one.id
            _require(not taken, f"canned report {other.id} has the table_name {one.table_name!r}")
        _require_unwritten(one, [other for other in self.written.canned if other.id == one.id])
        self.reports[one.id] = one

    def assigned(self, row: Mapping[str, Any]) -> None:
        number, agency, report = _number(row, "id"), self._agency_of(row), _number(row, "canned_report_id")
        _require(report in self.reports, f"there is no canned report {report} that could be taken")
        _require((agency.id, report) not in self.pairs, f"the agency has canned report {report} already")
        for known, whose, which in self.held.assigned:
            twice = (whose, which) == (agency.id, report) and known != number
            _require(not twice, f"manifest {known} gives the agency canned report {report} already")
        pair = (number, agency.id, report)
        _require_unwritten(pair, [other for other in self.written.assigned if other[0] == number])
        self._claim(self.reports[report].view(number, agency))
        self.pairs[agency.id, report] = number

    def custom(self, row: Mapping[str, Any]) -> None:
        agency, enabled = self._agency_of(row), row.get("enabled")
        one = View(
            _text(row, "table_name"), _text(row, "report_name"), agency.id, agency.slug, _text(row, "query"),
            _number(row, "id"), "custom", _database(row), enabled is None or bool(enabled),
        )  # fmt: skip
        _require_unwritten(one, [other for other in self.written.custom if other.key == one.key])
        self._claim(one)
        self.own.append(one)

    def _agency_of(self, row: Mapping[str, Any]) -> Agency:
        number, slug = _number(row, "agency_id"), _text(row, "agency_slug")
        _require(number in self.agencies, f"there is no agency {number} that could be taken")
        agency = self.agencies[number]
        known = (agency.slug, self.slugs_before.get(number))  # not every database has its manifests follow a new slug
        _require(slug in known, f"agency {number} has the slug {agency.slug!r}, and the row says {slug!r}")
        return agency

    def _claim(self, view: View) -> None:
        check_name(view.name, "table_name")
        kind, number = self.names.setdefault(view.name, view.key)
        _require((kind, number) == view.key, f"{kind} manifest {number} claims the name {view.name!r}")


def _number(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    if type(value) is not int:
        raise ConfigError(f"{name} is no whole number.")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name} is empty.")
    return value.strip()


def _database(row: Mapping[str, Any]) -> int:
    return 1 if row.get("database_id") is None else _number(row, "database_id")


def _require(met: object, otherwise: str) -> None:
    if not met:
        raise ConfigError(f"{otherwise[0].upper()}{otherwise[1:]}.")


def _require_unwritten(one: object, written: Sequence[object]) -> None:
    _require(all(other == one for other in written), "views/ holds another manifest under this id, and a file wins")
