"""Kill a sync at every failpoint, run it again, and compare with a run that was left alone."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from crash import scene
from crash.databases import Databases
from crash.state import compare

HERE = Path(__file__).resolve().parent


@dataclass
class Figures:
    """What was done and what came of it."""

    points: int = 0
    names: set[str] = field(default_factory=set)
    runs: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.points} points under {len(self.names)} names, {self.runs} runs with {self.kills} kills: "
            f"{self.lost} lost, {self.doubled} doubled, {len(self.failures)} failures"
        )


@dataclass(frozen=True)
class Hit:
    """One hit of a failpoint in a run that was left alone: its sync, its place there and its name."""

    phase: int
    place: int
    name: str


class Explorer:
    """A warm process that forks, and a folder and a database for each run.

    Args:
        warehouse: ``duckdb`` or ``postgres``.
        databases: Where each run gets one of its own; for Postgres.

    Attributes:
        mutant: A seeded bug that every further run has; the run it is compared with has none.
        killed: Which of the last run's kills found their mark.
    """

    def __init__(self, warehouse: str, databases: Databases | None = None) -> None:
        self.warehouse, self.mutant = warehouse, ""
        self.figures = Figures()
        self._databases = databases
        self._numbers = itertools.count(1)
        shared = Path("/dev/shm")
        self._base = Path(tempfile.mkdtemp(prefix="signalroom-crash-", dir=shared if shared.is_dir() else None))
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py"), warehouse],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._said()
        self._snapshots: dict[int, tuple[Path, str]] = {}
        self.reference: dict[int, dict[str, Any]] = {}
        self.hits: list[Hit] = []
        self.seconds: dict[int, float] = {}
        self.killed: list[bool] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove what it made."""
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._base, ignore_errors=True)  # the databases go with their server, which may be gone first

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise AssertionError(f"the zygote died:\n{self._process.stderr.read()[-3000:]}")
        return json.loads(line)

    def ask(self, root: Path, database: str, **request: Any) -> dict[str, Any]:
        """Run one request in a child of the zygote and return how it ended."""
        environ = {"CRASH_WAREHOUSE": database} if database else {}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"root": str(root), "environ": environ, **request}) + "\n")
        self._process.stdin.flush()
        return self._said()

    def record(self) -> list[Hit]:
        """Run undisturbed, keep what was there before each sync and after it, and return the hits."""
        root, database = self._base / "reference", self._databases.make("") if self._databases else ""
        scene.prepare(root, self.warehouse)
        for phase in scene.PHASES:
            self._snapshots[phase] = self._copied(root, database, f"before{phase}")
            log = self._base / f"log{phase}"
            done = self.ask(root, database, phases=[phase], log=str(log), state=True)
            if done["answer"] is None:
                raise AssertionError(f"the undisturbed run failed:\n{done['said'][-3000:]}")
            self.reference[phase], self.seconds[phase] = done["answer"]["state"], done["seconds"]
            names = log.read_text().split()
            self.hits += [Hit(phase, place, name) for place, name in enumerate(names, 1)]
        self._remove(root, database)
        self.figures.points, self.figures.names = len(self.hits), {hit.name for hit in self.hits}
        return self.hits

    def series(self, seed: int, length: int = 3) -> list[list[Hit]]:
        """Return one hit of each name, by a seeded choice, as series of hits that follow one another in a sync.

        Only names of the warehouse on Postgres: all others are in code that a run on DuckDB shares.
        """
        chance = random.Random(seed)
        names = {name for name in self.figures.names if self.warehouse == "duckdb" or name.startswith("warehouse.")}
        chosen = [chance.choice([hit for hit in self.hits if hit.name == name]) for name in sorted(names)]
        found: list[list[Hit]] = []
        for phase in scene.PHASES:
            hits = sorted((hit for hit in chosen if hit.phase == phase), key=lambda hit: hit.place)
            stride = -(-len(hits) // length)
            found += [hits[start::stride] for start in range(stride)]
        return found

    def crash(self, hit: Hit, *more: Hit | int, to_the_end: bool = False) -> list[str]:
        """Kill at a hit (and at the given hits of the runs after it), finish, and return what is not as it should be.

        Args:
            hit: Where the first run is killed: at that occurrence of its name, since threads may change the order.
            more: Where the runs after it are killed: at the first hit of that name, or at that hit from their start.
            to_the_end: Go on with the syncs that follow, instead of comparing after this one.
        """
        same = [one for one in self.hits if (one.phase, one.name) == (hit.phase, hit.name)]
        nth = same.index(hit) + 1
        kills: list[dict[str, Any]] = [{"kill_at": nth, "only": hit.name}]
        kills += [{"kill_at": one} if isinstance(one, int) else {"kill_at": 1, "only": one.name} for one in more]
        then = "".join(f", then {one if isinstance(one, int) else one.name}" for one in more)
        return self._run(hit.phase, kills, to_the_end=to_the_end, title=f"{hit.name} ({nth}) of sync {hit.phase}{then}")

    def crash_after(self, phase: int, *seconds: float, to_the_end: bool = False) -> list[str]:
        """Kill at moments nobody chose, counted from the start of each run."""
        kills = [{"after_s": one} for one in seconds]
        return self._run(phase, kills, to_the_end=to_the_end, title=f"{seconds} s into sync {phase}")

    def _run(self, phase: int, kills: Sequence[dict[str, Any]], *, to_the_end: bool, title: str) -> list[str]:
        self.killed = []
        if not self.mutant:
            self.figures.runs += 1
        with self._fresh(phase) as (root, database):
            for attempt, kill in enumerate(kills):
                # The second attempt comes before the leases of the first have run out, later ones after.
                attempt_s = (0, 60, 1500, 2400)[attempt]
                done = self.ask(root, database, phases=[phase], attempt_s=attempt_s, mutant=self.mutant, **kill)
                self.killed.append(done["killed"])
                self.figures.kills += done["killed"] and not self.mutant
                if done["answer"] is None and not done["killed"]:
                    return self._failed(title, [done["said"].strip()[-1500:]], 0, 0)
            phases = [one for one in scene.PHASES if one == phase or (to_the_end and one > phase)]
            attempt_s = (60, 1500, 2400, 3300)[len(kills) - 1]
            done = self.ask(root, database, phases=phases, attempt_s=attempt_s, mutant=self.mutant, state=True)
            if done["answer"] is None:
                return self._failed(title, [f"it never finished: {done['said'].strip()[-1500:]}"], 0, 0)
            problems, lost, doubled = compare(done["answer"]["state"], self.reference[phases[-1]])
            return self._failed(title, problems, lost, doubled) if problems else []

    def _failed(self, title: str, problems: list[str], lost: int, doubled: int) -> list[str]:
        found = [f"killed at {title}: {problem}" for problem in problems]
        if not self.mutant:  # what a seeded bug does is no figure of ours
            self.figures.lost += lost
            self.figures.doubled += doubled
            self.figures.failures += found
        return found

    @contextlib.contextmanager
    def _fresh(self, phase: int) -> Iterator[tuple[Path, str]]:
        made = self._copied(*self._snapshots[phase], f"run{next(self._numbers)}")
        try:
            yield made
        finally:
            self._remove(*made)

    def _copied(self, root: Path, database: str, name: str) -> tuple[Path, str]:
        shutil.copytree(root, self._base / name)
        return self._base / name, self._databases.make(database) if self._databases else ""

    def _remove(self, root: Path, database: str) -> None:
        shutil.rmtree(root, ignore_errors=True)
        if self._databases and database:
            self._databases.drop(database)
