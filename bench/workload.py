"""The workload: an orders export of 129 columns in 60 files over three prefixes, and a 1 % follow-up.

A pure function of the seed and the number of rows. One order in twenty appears twice, the second time with a later
``updated_at``, so "latest wins" has exactly one right answer, which :func:`truth` computes without any database.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

PREFIXES = {"orders_create": 0.70, "orders_update": 0.20, "orders_refund": 0.10}
FILES = 60
KINDS = ("bigint", "bigint", "decimal(18,2)", "decimal(18,2)", "timestamp", "text", "boolean", "text")
NAMED = {
    "order_id": "bigint", "created_at": "timestamp", "updated_at": "timestamp", "customer_id": "bigint",
    "product_category": "text", "status": "text", "state": "text", "currency": "text", "total": "decimal(18,2)",
    "tax": "decimal(18,2)", "quantity": "bigint", "is_test": "boolean", "email": "text",
}  # fmt: skip
COLUMNS = {**NAMED, **{f"extra_{n:03d}": KINDS[n % 8] for n in range(len(NAMED), 129)}}
WORDS = np.array(["north", "south, ltd", "east", "west", 'in"side', "façade", "plain", "golf", "hotel", "india"])
START_US = np.datetime64("2025-01-01", "us").astype(np.int64)
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Truth:
    """What the table must hold after the load: rows, and the sum of ``total`` over the winners."""

    rows: int
    total: Decimal


def generate(folder: Path, rows: int, seed: int = 11) -> None:
    """Write ``orders/<prefix>/*.csv`` and ``delta/orders_update/*.csv`` under ``folder``."""
    ids, updated = keys(rows, seed)
    cuts = np.cumsum([round(len(ids) * share) for share in PREFIXES.values()])[:-1]
    for number, (prefix, part) in enumerate(zip(PREFIXES, np.split(np.arange(len(ids)), cuts), strict=True)):
        files = np.array_split(part, max(1, round(FILES * PREFIXES[prefix])))
        for day, chosen in enumerate(files):
            rng = np.random.default_rng([seed, number, day])
            write(folder / "orders" / prefix / f"{prefix}_2025-11-{day + 1:02d}.csv", ids[chosen], updated[chosen], rng)
    rng = np.random.default_rng([seed, 99])
    changed = max(1, rows // 100)
    again = rng.permutation(rows - rows // 20)[: changed - changed // 10] + 1
    fresh = np.arange(rows + 1, rows + 1 + changed // 10)
    delta = np.concatenate([again, fresh])
    later = updated.max() + 1 + rng.integers(0, DAY_US, len(delta))
    write(folder / "delta" / "orders_update" / "orders_update_2026-01-01.csv", delta, later, rng)


def keys(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (order id, updated_at in µs): repeats come last and are strictly later than the first sighting."""
    rng = np.random.default_rng([seed, 1])
    repeats = rows // 20
    base = rows - repeats
    updated = START_US + np.sort(rng.integers(0, 300 * DAY_US, base))
    again = rng.permutation(base)[:repeats]
    later = updated[again] + rng.integers(1, 30 * DAY_US, repeats)
    return np.concatenate([np.arange(1, base + 1), again + 1]), np.concatenate([updated, later])


def totals(ids: np.ndarray, updated: np.ndarray) -> np.ndarray:
    """Return the order's total in cents: a function of id and version, so that the truth needs no file."""
    return (ids * 7919 + updated // 1_000 * 31) % 500_000


def truth(rows: int, seed: int = 11) -> Truth:
    """Return what the first load must leave, by numpy alone."""
    ids, updated = keys(rows, seed)
    order = np.lexsort((updated, ids))
    last = np.append(ids[order][1:] != ids[order][:-1], True)
    winners = order[last]
    cents = int(totals(ids[winners], updated[winners]).sum())
    return Truth(len(winners), Decimal(cents) / 100)


def write(path: Path, ids: np.ndarray, updated: np.ndarray, rng: np.random.Generator) -> None:
    """Write one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {name: column(name, kind, ids, updated, rng) for name, kind in COLUMNS.items()}
    pl.from_arrow(pa.table(made)).write_csv(path, quote_style="necessary")


def column(name: str, kind: str, ids: np.ndarray, updated: np.ndarray, rng: np.random.Generator) -> pa.Array:
    """Return one column's values as they are written."""
    n = len(ids)
    if name == "order_id":
        return pa.array(ids)
    if name == "updated_at":
        return pc.cast(pa.array(updated.astype("datetime64[us]")), pa.string())
    if name == "total":
        return decimals(totals(ids, updated))
    if name == "email":
        return pc.binary_join_element_wise(
            "c", pc.cast(pa.array(rng.integers(0, 10**7, n)), pa.string()), "@example.com", ""
        )
    if kind == "bigint":
        values = pa.array(rng.integers(0, 10 ** int(rng.integers(3, 9)), n))
    elif kind.startswith("decimal"):
        values = decimals(rng.integers(0, 10**7, n))
    elif kind == "timestamp":
        values = pc.cast(pa.array((updated - rng.integers(0, DAY_US, n)).astype("datetime64[us]")), pa.string())
    elif kind == "boolean":
        values = pa.array(np.where(rng.random(n) < 0.5, "true", "false"))
    else:
        values = pa.array(WORDS[rng.integers(0, len(WORDS), n)])
    if name in NAMED:
        return values
    empty = 0.95 if rng.random() < 0.14 else 0.1 if rng.random() < 0.33 else 0.0
    return pc.if_else(pa.array(rng.random(n) >= empty), values, pa.scalar(None, values.type)) if empty else values


def decimals(cents: np.ndarray) -> pa.Array:
    """Return cents as decimal text with two places."""
    whole = pc.cast(pa.array(cents // 100), pa.string())
    rest = pc.utf8_lpad(pc.cast(pa.array(cents % 100), pa.string()), 2, "0")
    return pc.binary_join_element_wise(whole, rest, ".")
