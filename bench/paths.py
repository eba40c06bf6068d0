"""One path through the workload, run as a process of its own so that its time and memory can be taken from outside.

``python bench/paths.py NAME DATA WORK [DSN]``; prints one JSON line with what it found in the table.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from workload import COLUMNS

DUCK = {"text": "VARCHAR", "bigint": "BIGINT", "boolean": "BOOLEAN", "timestamp": "TIMESTAMP"}
PG = {"text": "text", "bigint": "bigint", "boolean": "boolean", "timestamp": "timestamp"}
CHECK = "select count(*), sum(total) from {}"


def read_csv(files: str) -> str:
    """Return DuckDB's typed read of the files."""
    types = ", ".join(f"'{name}': '{DUCK.get(kind, kind)}'" for name, kind in COLUMNS.items())
    return f"""read_csv('{files}', header = true, auto_detect = false, delim = ',', quote = '"', escape = '"',
        columns = {{{types}}})"""


def floor_duckdb(data: Path, work: Path, dsn: str) -> list:
    """Typed read_csv into a table: no key, no raw, no rejects."""
    import duckdb

    with duckdb.connect(str(work / "floor.duckdb")) as connection:
        connection.execute(f"CREATE TABLE orders AS FROM {read_csv(f'{data}/orders/*/*.csv')}")
        return list(connection.execute(CHECK.format("orders")).fetchone())


def floor_postgres(data: Path, work: Path, dsn: str) -> list:
    """Two connections COPY the files' bytes into a logged table, then its key is built; repeats are cut by ctid."""
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("DROP TABLE IF EXISTS floor")
        columns = ", ".join(f"{name} {PG.get(kind, kind)}" for name, kind in COLUMNS.items())
        admin.execute(f"CREATE TABLE floor ({columns})")

    def send(files: list[Path]) -> None:
        with psycopg.connect(dsn) as connection:
            for file in files:
                with (
                    file.open("rb") as source,
                    connection.cursor().copy("COPY floor FROM STDIN (FORMAT csv, HEADER)") as sink,
                ):
                    while chunk := source.read(1 << 20):
                        sink.write(chunk)

    files = sorted(data.glob("orders/*/*.csv"))
    threads = [threading.Thread(target=send, args=(files[n::2],)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("""DELETE FROM floor WHERE ctid = ANY(ARRAY(SELECT c FROM (SELECT ctid AS c,
            row_number() OVER (PARTITION BY order_id ORDER BY updated_at DESC) AS n FROM floor) r WHERE n > 1))""")
        admin.execute("ALTER TABLE floor ADD PRIMARY KEY (order_id)")
        return list(admin.execute(CHECK.format("floor")).fetchone())


def workspace(data: Path, work: Path, dsn: str) -> Path:
    """Write the workspace that loads the export, its schema pinned."""
    root = work / ("ours_postgres" if dsn else "ours_duckdb")
    (root / "schemas").mkdir(parents=True, exist_ok=True)
    kind = 'kind = "postgres"\nurl = "env:BENCH_DSN"' if dsn else 'kind = "duckdb"'
    os.environ["BENCH_DSN"] = dsn
    inbox = root / "inbox"
    if not inbox.exists():
        inbox.mkdir()
        for prefix in (data / "orders").iterdir():
            (inbox / prefix.name).mkdir()
            for file in prefix.iterdir():
                os.link(file, inbox / prefix.name / file.name)
    (root / "signalroom.toml").write_text(f"""
name = "bench"
timezone = "UTC"
[warehouse]
{kind}
[sources.crm]
kind = "files"
url = "inbox"
[sources.crm.streams.orders]
path = "*/*.csv"
key = ["order_id"]
write = "merge"
order = ["updated_at"]
""")
    columns = "".join(f'{name} = "{kind}"\n' for name, kind in COLUMNS.items())
    (root / "schemas" / "crm.orders.toml").write_text(f"[columns]\n{columns}")
    return root


def ours(data: Path, work: Path, dsn: str) -> list:
    """One `sync`: raw kept, typed exactly, rejects, conservation checked; then the 1 % follow-up, resident."""
    from signalroom.engine.inline import run_step
    from signalroom.room import Room

    root = workspace(data, work, dsn)
    with Room.open(root) as room:
        began = time.perf_counter()
        run_step(room, "sync crm")
        first_s = time.perf_counter() - began
        answer = list(room.warehouse.query(CHECK.format("crm.orders")).to_pylist()[0].values())
        if os.environ.get("BENCH_DELTA"):
            source = next((data / "delta").glob("*/*.csv"))
            os.link(source, root / "inbox" / "orders_update" / source.name)
            began = time.perf_counter()
            run_step(room, "sync crm")
            delta_s = time.perf_counter() - began
            began = time.perf_counter()
            run_step(room, "sync crm")
            return [*answer, {"first_s": first_s, "delta_s": delta_s, "noop_s": time.perf_counter() - began}]
    return answer


def dlt(data: Path, work: Path, dsn: str) -> list:
    """dlt's fastest honest path: typed DuckDB reads as Arrow, merge by key with the newest winning."""
    home = work / ("dlt_postgres" if dsn else "dlt_duckdb")
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(home), "RUNTIME__LOG_LEVEL": "CRITICAL"}
    import dlt as peer
    import dlt.destinations
    import duckdb

    columns = {"updated_at": {"dedup_sort": "desc", "data_type": "timestamp"}}
    disposition = {"disposition": "merge", "strategy": "delete-insert"}

    @peer.resource(name="orders", primary_key="order_id", write_disposition=disposition, columns=columns)
    def orders():
        connection = duckdb.connect()
        reader = connection.sql(f"FROM {read_csv(f'{data}/orders/*/*.csv')}").to_arrow_reader(100_000)
        import pyarrow as pa

        for batch in reader:
            yield pa.Table.from_batches([batch])

    named = dsn.replace("postgres@", "postgres:trusted@")  # dlt insists on a password
    place = dlt.destinations.postgres(named) if dsn else dlt.destinations.duckdb(str(work / "dlt.duckdb"))
    pipeline = peer.pipeline("bench", destination=place, dataset_name="dlt_bench", pipelines_dir=str(home / "p"))
    pipeline.run(orders())
    with pipeline.sql_client() as client:
        return list(client.execute_sql(CHECK.format("orders"))[0])


PATHS = {
    "floor-duckdb": floor_duckdb, "floor-postgres": floor_postgres, "ours-duckdb": ours, "ours-postgres": ours,
    "dlt-duckdb": dlt, "dlt-postgres": dlt,
}  # fmt: skip


def main() -> None:
    """Run the path that the command line names."""
    name, data, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    dsn = sys.argv[4] if len(sys.argv) > 4 else ""
    work.mkdir(parents=True, exist_ok=True)
    print(json.dumps(PATHS[name](data, work, dsn), default=str))


if __name__ == "__main__":
    main()
