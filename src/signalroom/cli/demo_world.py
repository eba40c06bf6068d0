"""The world a demo's workspace is about: which one, what time it is there, and where its upstreams are."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError
from signalroom.run import OnProgress, Progress
from signalroom.workspace.init import init
from signalroom.workspace.workspace import FILE

if TYPE_CHECKING:
    from signalroom.simulators import Upstreams, World

DEMO_STATE = ".signalroom/demo/world.json"
ZONE = "America/New_York"
EXPORTS = ".signalroom/demo/exports"

_MORNING = time_of_day(7)
_SLOWING_S = 3600.0
_DAYS = 21
_ENVIRONMENT_NOTE = """\
# Where the simulated upstreams of `signalroom demo` are, and the keys they let in. They answer while it runs.
"""


@dataclass(frozen=True, slots=True)
class DemoClock:
    """A clock that starts at a world's moment and slows down: it never stands, and its day never ends.

    So every process that opens the workspace, next month too, finds it on the morning the world is about, and each
    later than the one before.

    Attributes:
        starts: What it shows when the demo is made.
        made_at: When that was, by the machine's clock.
    """

    starts: datetime
    made_at: datetime

    def now(self) -> datetime:
        """Return the moment in the world: an hour later after two, four hours later after two days."""
        passed_s = max(0.0, (datetime.now(UTC) - self.made_at).total_seconds())
        return self.starts + timedelta(seconds=_SLOWING_S * math.log1p(passed_s / _SLOWING_S))

    def monotonic(self) -> float:
        """Return the machine's monotonic clock, in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds`` of the machine's time."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class DemoState:
    """Which world a demo's workspace is about; kept in it, so that the next run is about the same one.

    Attributes:
        seed: Equal seeds make equal worlds.
        today: The world's last local date; the report is about the day before.
        orders_per_day: About how many rows a file of the exports has.
        made_at: When the demo was made.
        warehouse_url: ``env:NAME`` of a Postgres database; empty for DuckDB.
    """

    seed: int
    today: date
    orders_per_day: int
    made_at: datetime
    warehouse_url: str = ""

    @classmethod
    def read(cls, root: Path) -> DemoState:
        """Return the state of the demo at ``root``; raises ConfigError where it cannot be read."""
        file = root / DEMO_STATE
        try:
            kept: Any = json.loads(file.read_text(encoding="utf-8"))
            return cls(
                int(kept["seed"]),
                date.fromisoformat(kept["today"]),
                int(kept["orders_per_day"]),
                datetime.fromisoformat(kept["made_at"]),
                str(kept["warehouse_url"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise ConfigError(
                f"{file} is not what a demo wrote ({type(problem).__name__}).", mend="Remove the folder and start anew."
            ) from problem

    def write(self, root: Path) -> None:
        """Keep the state."""
        file = root / DEMO_STATE
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {
            "seed": self.seed,
            "today": self.today.isoformat(),
            "orders_per_day": self.orders_per_day,
            "made_at": self.made_at.isoformat(),
            "warehouse_url": self.warehouse_url,
        }
        file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")

    @property
    def moment(self) -> datetime:
        """When the upstreams stand still: the morning of the world's last date."""
        return datetime.combine(self.today, _MORNING, ZoneInfo(ZONE)).astimezone(UTC)

    @property
    def report_day(self) -> date:
        """The day the report is about."""
        return self.today - timedelta(days=1)

    @property
    def first_day(self) -> date:
        """The first day of the world: enough for the report's trend and the day before."""
        return self.today - timedelta(days=_DAYS - 1)

    def clock(self) -> DemoClock:
        """Return the clock of the workspace."""
        return DemoClock(self.moment, self.made_at)

    def world(self) -> World:
        """Return the world, its upstreams standing at :attr:`moment`."""
        from signalroom.simulators import World

        moment = self.moment
        return World(self.seed, self.today, ZONE, now=lambda: moment, days=_DAYS, orders_per_day=self.orders_per_day)


def clock_of(root: Path) -> Clock:
    """Return the clock of a workspace: the machine's, but in a demo's workspace that of its world."""
    return DemoState.read(root).clock() if (root / DEMO_STATE).is_file() else SystemClock()


def prepare(root: Path, wanted: DemoState, template: str) -> tuple[DemoState, bool]:
    """Make the demo's workspace at ``root``, or find it there; return its state and whether it was made now.

    Raises:
        ConfigError: The folder holds something else, or a demo of another world.
    """
    check_reference(wanted.warehouse_url)
    if (root / DEMO_STATE).exists() and (root / FILE).exists():
        state = DemoState.read(root)
        if replace(state, made_at=wanted.made_at) != wanted:
            at = f" at {state.warehouse_url}" if state.warehouse_url else ""
            which = f"seed {state.seed}, {state.today}, {state.orders_per_day} orders a day{at}"
            raise ConfigError(
                f"{root} holds another demo: {which}.",
                mend="Ask for the same one, or name another folder with --dir.",
            )
        return state, False
    if (root / FILE).exists():
        raise ConfigError(f"{root} holds a workspace that is no demo.", mend="Name another folder with --dir.")
    init(template, root)
    if wanted.warehouse_url:
        use_postgres(root / FILE, wanted.warehouse_url)
    wanted.write(root)
    return wanted, True


def write_exports(state: DemoState, world: World, root: Path, progress: OnProgress) -> tuple[int, int]:
    """Write the CRM's files that are not there yet and return how many files and bytes; none on a second run."""
    from signalroom.simulators import write_exports as write
    from signalroom.simulators.exports import MAPPING_PATH, export_files

    folder = root / EXPORTS
    files = export_files(world, state.moment)
    if (folder / MAPPING_PATH).exists() and all((folder / file.path).exists() for file in files):
        return 0, 0  # the mapping alone is written anew each time, and would look like news
    count = rows = size = 0
    for moment in sorted({file.time for file in files}):
        done = write(world, folder, moment)
        count, rows, size = count + done.files - 1, rows + done.rows, size + done.size_bytes
        progress(Progress("writing the CRM's exports", rows, size))
    return count + 1, size


def environment(upstreams: Upstreams) -> dict[str, str]:
    """Return the variables the template refers to."""
    from signalroom.simulators import EverflowOptions, RedtrackOptions

    return {
        "EXPORTS_URL": EXPORTS,
        "EVERFLOW_BASE_URL": upstreams.everflow_url,
        "EVERFLOW_API_KEY": EverflowOptions().api_key,
        "REDTRACK_BASE_URL": upstreams.redtrack_url,
        "REDTRACK_API_KEY": RedtrackOptions().api_key,
    }


def write_environment(root: Path, variables: Mapping[str, str]) -> None:
    """Write the variables to ``.env``, so that other commands find the workspace complete."""
    lines = [f"{name}={value}\n" for name, value in variables.items()]
    (root / ".env").write_text(_ENVIRONMENT_NOTE + "".join(lines), encoding="utf-8")


def check_reference(warehouse_url: str) -> None:
    """Raise ConfigError for an address where ``env:NAME`` belongs: an address holds a password."""
    if warehouse_url and not warehouse_url.startswith("env:"):
        raise ConfigError(
            "--warehouse-url takes a reference, not an address.",
            mend="Export the address as WAREHOUSE_URL and write --warehouse-url env:WAREHOUSE_URL.",
        )


def use_postgres(file: Path, url: str) -> None:
    """Replace the ``[warehouse]`` section of a workspace file."""
    before, _, rest = file.read_text(encoding="utf-8").partition("[warehouse]")
    after = rest.partition("\n[")[2]
    section = f'[warehouse]\nkind = "postgres"\nurl = "{url}"\n'
    file.write_text(f"{before}{section}\n[{after}", encoding="utf-8")
