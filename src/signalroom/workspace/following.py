"""How an app is followed: the ``follow`` table of a projection."""

from __future__ import annotations

from dataclasses import dataclass

from signalroom.errors import ConfigError
from signalroom.workspace.settings import Secret, setting


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """A ``[projections.NAME.follow]`` table."""

    secret: Secret | None = setting(
        "Signs what asks for a row over HTTP; without one nobody may.", default=None, example='"env:PULL_SECRET"'
    )
    requests_per_s: float = setting("How many rows may be asked for over HTTP.", default=500.0, unit="rows/s")
    relay: bool = setting(
        "Run the app's relay here too; false where a job of the app's own, or `signalroom leader relay`, does.",
        default=True,
    )
    listen: bool = setting(
        "Be told of changes by the app's database; false behind a pooler that shares sessions, where the app asks over"
        " HTTP and the sweep finds the rest.",
        default=True,
    )
    batch_rows: int = setting("Rows asked for in one query.", default=500, unit="rows")
    sweep_s: float = setting("How often rows are looked for whose notification was lost.", default=30.0, unit="s")
    reconcile_s: float = setting(
        "How often checksums are compared with the app's; 0 leaves it to `signalroom follow --reconcile`.",
        default=86400.0,
        unit="s",
    )
    tombstones_days: float = setting(
        "How long the app's database remembers rows that are gone, once every follower knows; 0 means for ever, and"
        " needs no right to write there.",
        default=30.0,
        unit="days",
    )
    leader_after_s: float = setting(
        "How long the replica may lack a row that is wanted before the app's database itself is asked.",
        default=10.0,
        unit="s",
    )

    def __post_init__(self) -> None:
        for name in ("requests_per_s", "batch_rows", "sweep_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be greater than 0.", mend="Leave it out.")
