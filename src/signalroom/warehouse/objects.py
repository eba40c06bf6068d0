"""Which version of which object a table holds: the law of files, decided on names and hashes alone.

The law: a table always equals a clean load of each object's newest version, where objects with the same bytes count
once (under the earliest file time). A re-upload therefore withdraws its earlier version, a copy under a new name is
skipped and recorded, and a copy whose original was corrected later comes into its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from signalroom.load import Load, Part
from signalroom.position import Json
from signalroom.warehouse.parts import BEGINNING, file_time


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one object, as the lake holds it.

    Attributes:
        key: Object key.
        load_id: The load that brought it.
        part: Name of the part in that load.
        sha256: Hash of its bytes.
        file_time: The object's time.
        loaded: Whether its rows are in the table (a copy's are not).
    """

    key: str
    load_id: str
    part: str
    sha256: str
    file_time: datetime
    loaded: bool

    @property
    def rank(self) -> tuple[datetime, str]:
        """Order among objects: file time, then key; the least of equal bytes is the one that counts."""
        return (self.file_time, self.key)

    def same_bytes_in_lake(self, other: Version) -> bool:
        """Whether both name the same part of the same load."""
        return (self.load_id, self.part) == (other.load_id, other.part)


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """What a merge of objects has to do.

    Attributes:
        withdraw: Versions whose rows leave the table.
        enter: Versions whose rows enter it, from the pending loads or (a copy come into its own) from older ones.
        stay: Versions whose rows stay; consulted for keys that the withdrawn rows had displaced.
        skipped: Pending versions that are copies of an object the stream already holds.
        positions: Partition values to write: the arrived ones completed, and others whose ``loaded`` changed.
    """

    withdraw: tuple[Version, ...]
    enter: tuple[Version, ...]
    stay: tuple[Version, ...]
    skipped: tuple[Version, ...]
    positions: Mapping[str, Json]


def stored_versions(positions: Mapping[str, Json], table: str) -> dict[str, Version]:
    """Return the object versions that a stream's positions record for ``table``, by key."""
    found: dict[str, Version] = {}
    for key, value in positions.items():
        if isinstance(value, Mapping) and "loaded" in value and value.get("table", table) == table:
            found[key] = Version(
                key=key,
                load_id=str(value["load_id"]),
                part=str(value["part"]),
                sha256=str(value["sha256"]),
                file_time=datetime.fromisoformat(str(value["file_time"])),
                loaded=bool(value.get("loaded", False)),
            )
    return found


def arrived_versions(loads: Iterable[Load], table: str) -> list[Version]:
    """Return the object versions that ``loads`` bring to ``table``, oldest load first."""
    return [_version(load, part) for load in loads for part in load.parts if part.object_key and part.table == table]


def _version(load: Load, part: Part) -> Version:
    moment = file_time(part) or BEGINNING
    return Version(part.object_key, load.load_id, part.name, part.sha256, moment, loaded=False)


def plan_objects(
    stored: Mapping[str, Version], arrived: Sequence[Version], recorded: Mapping[str, Json], *,
    newest_only: bool, table: str = "",
) -> ObjectPlan:  # fmt: skip
    """Decide which versions leave, enter and stay.

    Args:
        stored: Versions the stream's positions record.
        arrived: Versions of the pending loads, oldest load first.
        recorded: Partition values of stored and pending positions together.
        newest_only: For ``replace``: the table is one snapshot, that of the greatest file time, even where its bytes
            are those of an earlier one.
        table: The table they feed.
    """
    latest = dict(stored)
    for version in arrived:
        earlier = latest.get(version.key)
        # the newest version is that of the newest load, whichever is merged first
        if earlier is None or (earlier.load_id, earlier.part) <= (version.load_id, version.part):
            latest[version.key] = version
    counted: dict[str, Version] = {}
    for version in latest.values():
        rival = counted.get(version.sha256)
        if rival is None or version.rank < rival.rank:
            counted[version.sha256] = version
    chosen = {version.key: version for version in counted.values()}
    if newest_only and latest:
        newest = max(latest.values(), key=lambda version: version.rank)
        chosen = {newest.key: newest}
    before = {version.key: version for version in stored.values() if version.loaded}
    withdraw = [v for k, v in before.items() if k not in chosen or not v.same_bytes_in_lake(chosen[k])]
    stay = [v for k, v in before.items() if k in chosen and v.same_bytes_in_lake(chosen[k])]
    enter = [v for k, v in chosen.items() if k not in before or not v.same_bytes_in_lake(before[k])]
    fresh = frozenset(arrived)
    twins = {version.sha256: version.key for version in chosen.values()}
    copies = [v for v in latest.values() if v in fresh and v.key not in chosen and v.sha256 in twins]
    changed = [v for v in latest.values() if v in fresh or v.loaded != (v.key in chosen)]
    return ObjectPlan(
        withdraw=tuple(withdraw),
        enter=tuple(sorted(enter, key=lambda version: version.rank)),
        stay=tuple(sorted(stay, key=lambda version: version.rank)),
        skipped=tuple(copies),
        positions={v.key: _recorded(v, recorded.get(v.key), table, chosen, twins) for v in changed},
    )


def _recorded(
    version: Version, known: Json, table: str, chosen: Mapping[str, Version], twins: Mapping[str, str]
) -> dict[str, Json]:
    """Return the partition value of a version: what its source recorded, and what became of it."""
    value: dict[str, Json] = {
        **(known if isinstance(known, Mapping) else {}),
        "table": table,
        "sha256": version.sha256,
        "load_id": version.load_id,
        "part": version.part,
        "file_time": version.file_time.isoformat(),
        "loaded": version.key in chosen,
    }
    value.pop("same_as", None)
    if version.key not in chosen and version.sha256 in twins:
        value["same_as"] = twins[version.sha256]
    return value
