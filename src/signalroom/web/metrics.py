"""`/metrics`: what the ledger and the warehouse say, counted at each scrape, so that a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from signalroom.run import Run

if TYPE_CHECKING:
    from prometheus_client import Metric

    from signalroom.room import Room

_RECENT_RUNS = 500


def exposition(room: Room) -> bytes:
    """Return the metrics in Prometheus's text format; raises what the ledger or the warehouse raises."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Figures(room))  # pyright: ignore[reportArgumentType] - a collector is what has collect()
    return generate_latest(registry)


class _Figures:
    """A collector, in prometheus-client's sense."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def describe(self) -> list[Metric]:
        """Return nothing: what is collected is not known before."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its values of now."""
        from prometheus_client.core import GaugeMetricFamily

        def gauge(name: str, text: str, labels: list[str]) -> Any:
            return GaugeMetricFamily(f"signalroom_{name}", text, labels=labels)

        counted = gauge("runs", "Runs in the ledger, by status.", ["status"])
        for status, number in self._room.ledger.figures.runs_by_status().items():
            counted.add_metric([status], number)
        deliveries = gauge("deliveries", "Deliveries in the ledger, by state.", ["state"])
        for state, number in self._room.ledger.figures.deliveries_by_state().items():
            deliveries.add_metric([state], number)
        seconds = gauge("run_seconds", "Seconds the last run of a step took.", ["job", "step"])
        ended = gauge("run_success", "1 where the last run of a step succeeded, else 0.", ["job", "step"])
        rows = gauge("run_rows", "Rows that the last run of a step took in.", ["job", "step"])
        for run in self._newest():
            if run.finished_at is None:
                continue
            seconds.add_metric([run.job, run.step], (run.finished_at - run.started_at).total_seconds())
            ended.add_metric([run.job, run.step], run.status == "success")
            if (taken := _rows(run)) is not None:
                rows.add_metric([run.job, run.step], taken)
        yield from (counted, deliveries, seconds, ended, rows, self._freshness(gauge))

    def _newest(self) -> list[Run]:
        """Return the newest finished run of each job's step, as far back as is cheap."""
        found: dict[tuple[str, str], Run] = {}
        for run in self._room.ledger.runs.list(_RECENT_RUNS):
            if run.finished_at is not None:
                found.setdefault((run.job, run.step), run)
        return list(found.values())

    def _freshness(self, gauge: Any) -> Metric:
        from signalroom.warehouse.overview import stream_loads

        fresh = gauge("stream_age_seconds", "Seconds since a stream's newest load was committed.", ["stream"])
        now = self._room.clock.now()
        for stream, known in stream_loads(self._room.warehouse).items():
            fresh.add_metric([stream], (now - known.committed_at).total_seconds())
        return fresh


def _rows(run: Run) -> int | None:
    """Return the rows a sync took in; None for other steps."""
    streams: Any = run.result.get("streams")
    return sum(int(one["rows_in"]) for one in streams) if streams else None
