"""`/metrics`: what the ledger and the warehouse say, counted at each scrape, so that a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from signalroom.projection import FollowState
from signalroom.run import Run

if TYPE_CHECKING:
    from prometheus_client import Metric

    from signalroom.engine.loops import Loop
    from signalroom.room import Room

_RECENT_RUNS = 500


def exposition(room: Room, loops: Sequence[Loop] = ()) -> bytes:
    """Return the metrics in Prometheus's text format, those of ``loops`` too.

    Raises:
        SignalRoomError: What the ledger or the warehouse raises.
    """
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Figures(room, loops))  # pyright: ignore[reportArgumentType] - a collector is what has collect()
    return generate_latest(registry)


class _Figures:
    """A collector, in prometheus-client's sense."""

    def __init__(self, room: Room, loops: Sequence[Loop]) -> None:
        self._room, self._loops = room, loops

    def describe(self) -> list[Metric]:
        """Return nothing: what is collected is not known before."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its values of now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

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
        yield from self._projections(gauge)
        failing = gauge("loop_failures", "Turns of a loop that failed since its last good one; 0 is well.", ["loop"])
        failed = CounterMetricFamily(
            "signalroom_loop_failed", "Turns of a loop that failed since the process began.", labels=["loop"]
        )
        for loop in self._loops:
            failing.add_metric([loop.name], loop.failures)
            failed.add_metric([loop.name], loop.failed)
        yield from (failing, failed)

    def _newest(self) -> list[Run]:
        """Return the newest finished run of each job's step; of steps that people start, as far back as is cheap."""
        found: dict[tuple[str, str], Run] = {}
        for run in self._room.ledger.runs.recent(_RECENT_RUNS):
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

    def _projections(self, gauge: Any) -> Iterator[Metric]:
        """Yield how far the rows of each app's entities are; nothing where the workspace follows none."""
        room = self._room
        if not room.workspace.projections:
            return
        lag = gauge(
            "projection_lag_seconds",
            "Seconds from the app's change to the commit here, of the slowest row of the newest batch.", ["entity"],
        )  # fmt: skip
        queued = gauge("projection_queue_rows", "Rows that are wanted and not here yet.", ["entity"])
        waiting = gauge("projection_queue_age_seconds", "Seconds since the first of them was asked for.", ["entity"])
        swept = gauge("projection_sweep_age_seconds", "Seconds since the last sweep ended.", ["entity"])
        compared = gauge("projection_comparison_age_seconds", "Seconds since checksums were compared.", ["entity"])
        now, store = room.clock.now(), room.warehouse.projections()
        for app in room.workspace.projections:
            states, backlog = store.states(app), room.ledger.pulls.backlog(app)
            for name in sorted(states.keys() | backlog.keys()):
                labels, state, behind = [f"{app}.{name}"], states.get(name, FollowState()), backlog.get(name)
                queued.add_metric(labels, behind.rows if behind else 0)
                waiting.add_metric(labels, (now - behind.since).total_seconds() if behind else 0)
                if state.lag_s is not None:
                    lag.add_metric(labels, state.lag_s)
                for metric, moment in ((swept, state.swept_at), (compared, state.reconciled_at)):
                    if moment is not None:
                        metric.add_metric(labels, (now - moment).total_seconds())
        yield from (lag, queued, waiting, swept, compared)


def _rows(run: Run) -> int | None:
    """Return the rows a sync took in; None for other steps."""
    streams: Any = run.result.get("streams")
    return sum(int(one["rows_in"]) for one in streams) if streams else None
