"""Which version of which object a table holds: the law of files, decided on names and hashes alone.

The law: a table always equals a clean load of each object's newest version, where objects with the same bytes count
once (under the earliest file time). A re-upload therefore withdraws its earlier version, a copy under a new name is
skipped and recorded, and a copy whose original was corrected later comes into its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from signalroom.load import Load, Part
from signalroom.position import Json


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
        skipped: Pending versions that are copies of an object the stream already holds, or were replaced at once.
        positions: Partition values to write: the arrived ones completed, and others whose ``loaded`` changed.
    """

    withdraw: tuple[Version, ...]
    enter: tuple[Version, ...]
    stay: tuple[Version, ...]
    skipped: tuple[Version, ...]
    positions: Mapping[str, Json]


def stored_versions(positions: Mapping[str, Json]) -> dict[str, Version]:
    """Return the object versions that a stream's positions record, by key."""
    found: dict[str, Version] = {}
    for key, value in positions.items():
        if isinstance(value, Mapping) and "sha256" in value:
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
    moment = part.file_time or datetime.fromtimestamp(0, UTC)
    return Version(part.object_key, load.load_id, part.name, part.sha256, moment, loaded=False)


def plan_objects(
    stored: Mapping[str, Version], arrived: Sequence[Version], recorded: Mapping[str, Json], *, newest_only: bool
) -> ObjectPlan:
    """Decide which versions leave, enter and stay.

    Args:
        stored: Versions the stream's positions record.
        arrived: Versions of the pending loads, oldest load first.
        recorded: Partition values of stored and pending positions together.
        newest_only: For ``replace``: the table is one snapshot, that of the greatest file time.
    """
    latest = dict(stored)
    skipped: list[Version] = []
    for version in arrived:
        earlier = latest.get(version.key)
        if earlier is not None and earlier in arrived:
            skipped.append(earlier)  # replaced before it was ever merged
        latest[version.key] = version
    counted: dict[str, Version] = {}
    for version in latest.values():
        rival = counted.get(version.sha256)
        if rival is None or version.rank < rival.rank:
            counted[version.sha256] = version
    if newest_only and counted:
        newest = max(counted.values(), key=lambda version: version.rank)
        counted = {newest.sha256: newest}
    chosen = {version.key: version for version in counted.values()}
    before = {version.key: version for version in stored.values() if version.loaded}
    withdraw = [v for k, v in before.items() if k not in chosen or not v.same_bytes_in_lake(chosen[k])]
    stay = [v for k, v in before.items() if k in chosen and v.same_bytes_in_lake(chosen[k])]
    enter = [v for k, v in chosen.items() if k not in before or not v.same_bytes_in_lake(before[k])]
    skipped += [v for v in latest.values() if v.key not in chosen and v in arrived]
    return ObjectPlan(
        withdraw=tuple(withdraw),
        enter=tuple(sorted(enter, key=lambda version: version.rank)),
        stay=tuple(sorted(stay, key=lambda version: version.rank)),
        skipped=tuple(skipped),
        positions=_positions(latest, chosen, arrived, recorded),
    )


def _positions(
    latest: Mapping[str, Version],
    chosen: Mapping[str, Version],
    arrived: Sequence[Version],
    recorded: Mapping[str, Json],
) -> dict[str, Json]:
    """Return the partition values to write: those that arrived, and those whose ``loaded`` changes."""
    values: dict[str, Json] = {}
    for key, version in latest.items():
        loaded = key in chosen
        if version not in arrived and version.loaded == loaded:
            continue
        known = cast("Mapping[str, Json]", recorded.get(key) or {})
        written: dict[str, Json] = {
            **known,
            "sha256": version.sha256,
            "load_id": version.load_id,
            "part": version.part,
            "file_time": version.file_time.isoformat(),
            "loaded": loaded,
        }
        written.pop("same_as", None)
        if not loaded:
            twin = next((v.key for v in chosen.values() if v.sha256 == version.sha256), None)
            if twin:
                written["same_as"] = twin
        values[key] = written
    return values
