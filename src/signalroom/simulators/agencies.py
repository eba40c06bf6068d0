"""A world of agencies: exports of clicks, orders and spend, each row with the agency whose it is."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

_NAMES = ("harbor", "cedar", "summit", "lantern", "meadow", "copper", "willow", "anchor", "falcon", "juniper")
_KINDS = ("media", "reach", "digital", "growth", "partners")
_STATES = ("CA", "FL", "NY", "OH", "TX", "WA")
_COLUMNS = {
    "clicks": ("agency_id", "day", "affiliate", "offer", "device", "clicks", "conversions", "revenue"),
    "orders": ("agency_id", "order_id", "day", "state", "status", "amount"),
    "spend": ("agency_id", "day", "source", "cost"),
}


@dataclass(frozen=True, slots=True)
class AgencyWorld:
    """Fifty agencies and their days.

    Attributes:
        seed: Equal seeds make equal worlds.
        first: The first day.
        rows: About how many rows of each kind an agency has a day.
        agencies: How many agencies there are, 50 at most.
    """

    seed: int = 7
    first: date = date(2026, 10, 22)
    rows: int = 12
    agencies: int = 50

    def slugs(self) -> tuple[str, ...]:
        """Return the agencies' short names; the first has the id 1."""
        return tuple(f"{name}_{kind}" for kind in _KINDS for name in _NAMES)[: self.agencies]

    def write(self, folder: Path, number: int, tables: Sequence[str] = ("clicks", "orders", "spend")) -> int:
        """Write the files of one day, counted from the first, and return how many rows; a file there is left alone."""
        written = 0
        for table in tables:
            day = self.first + timedelta(days=number)
            file = folder / table / f"{table}_{day.isoformat()}.csv"
            if file.exists():
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            chance = random.Random(f"{self.seed} {table} {number}")
            rows = list(self._rows(table, day, number, chance))
            with file.open("w", encoding="utf-8", newline="") as sink:
                writer = csv.writer(sink)
                writer.writerow(_COLUMNS[table])
                writer.writerows(rows)
            written += len(rows)
        return written

    def _rows(self, table: str, day: date, number: int, chance: random.Random) -> Iterator[Sequence[object]]:
        for agency in range(1, self.agencies + 1):
            for place in range(chance.randint(1, 2 * self.rows)):
                cents = f"{chance.randint(0, 90_000) / 100:.2f}"
                if table == "clicks":
                    clicks = chance.randint(0, 900)
                    made = chance.randint(0, clicks // 9)
                    names = (f"affiliate {chance.randint(1, 15)}", f"offer {chance.randint(1, 6)}")
                    yield agency, day, *names, chance.choice(("phone", "desktop", "tablet")), clicks, made, cents
                elif table == "orders":
                    # An order of the day before comes again with a newer status.
                    of_day = number - 1 if number and chance.random() < 0.1 else number
                    order = (of_day * 100 + agency) * 1_000 + place
                    status = chance.choice(("NEW", "NEW", "DECLINED", "VOID/REFUNDED"))
                    yield agency, order, day, chance.choice(_STATES), status, cents
                else:
                    yield agency, day, f"source {chance.randint(1, 8)}", cents
