"""Which database a view is in: the warehouse, or another that ``[views.databases]`` gives a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from signalroom.errors import SignalRoomError
from signalroom.view import ManifestSet, Pending, Preview, Refreshed, View, ViewLimits, ViewStore

if TYPE_CHECKING:
    from signalroom.position import Json
    from signalroom.workspace.settings import Secret
    from signalroom.workspace.workspace import Workspace

_USUAL = 1


@dataclass(frozen=True, slots=True)
class Numbered:
    """What the numbers mean.

    Attributes:
        here: Numbers that mean the warehouse.
        elsewhere: Number -> address of another database, Postgres.
    """

    here: frozenset[int]
    elsewhere: Mapping[int, Secret]

    @classmethod
    def of(cls, workspace: Workspace) -> Numbered:
        """Read them off a workspace: 1 is the warehouse unless it is given to another, and so is its own address."""
        given = workspace.views.databases
        if not isinstance(given, Mapping):
            return cls(frozenset(given), {})
        own = workspace.warehouse.settings.get("url")
        here = {int(number) for number, url in given.items() if url.reference == own}
        here |= {_USUAL} - {int(number) for number in given}
        return cls(frozenset(here), {int(one): url for one, url in given.items() if int(one) not in here})

    @property
    def known(self) -> tuple[int, ...]:
        """Every number, sorted."""
        return tuple(sorted({*self.here, *self.elsewhere}))


@dataclass(slots=True)
class ViewDatabases:
    """The views of a workspace, each in its database; see :class:`signalroom.view.ViewStore`.

    Of another database nothing is known of what came into its tables, so what the warehouse knows of inputs and states
    holds for its own views only. One that does not answer fails its own views, and no others.

    Attributes:
        warehouse: The views in the warehouse.
        elsewhere: Number -> opens the views of another database; each is opened once.
    """

    warehouse: ViewStore
    elsewhere: Mapping[int, Callable[[], ViewStore]]
    _opened: dict[int, ViewStore] = field(default_factory=dict[int, ViewStore], init=False, repr=False)

    @property
    def dialect(self) -> str:
        """The warehouse's."""
        return self.warehouse.dialect

    def turn(self, limit: int) -> AbstractContextManager[None]:
        """Return a context for so many refreshes at once, of all databases: the warehouse counts them."""
        return self.warehouse.turn(limit)

    def parse(self, sql: str) -> Json:
        """Return the statements of ``sql`` as DuckDB's parser serializes them."""
        return self.warehouse.parse(sql)

    def versions(self, tables: Sequence[str]) -> Mapping[str, str]:
        """Return what is known of the warehouse's tables."""
        return self.warehouse.versions(tables)

    def states(self) -> Mapping[str, tuple[str, str]]:
        """Return what the warehouse's views were computed from."""
        return self.warehouse.states()

    def settle(self, manifests: ManifestSet, limits: ViewLimits) -> Mapping[str, SignalRoomError]:
        """Let views follow their agencies, each in its database; one that does not answer refuses its own."""
        refused: dict[str, SignalRoomError] = {}
        for number in sorted({view.database_id for view in manifests.views()} & self.elsewhere.keys()):
            mine = manifests.only(lambda database, number=number: database == number)
            try:
                refused.update(self._store(number).settle(mine, limits))
            except SignalRoomError as problem:
                refused.update({view.name: problem for view in mine.views()})
        here = manifests.only(lambda database: database not in self.elsewhere)
        return {**refused, **self.warehouse.settle(here, limits)}

    def refresh(self, pending: Sequence[Pending], limits: ViewLimits, *, together: bool) -> Sequence[Refreshed]:
        """Compute views, each in its database."""
        done: list[Refreshed] = []
        for number in sorted({one.view.database_id for one in pending}):
            mine = [one for one in pending if one.view.database_id == number]
            if number not in self.elsewhere:
                done += self.warehouse.refresh(mine, limits, together=together)
                continue
            try:
                done += self._store(number).refresh(mine, limits, together=together)
            except SignalRoomError as problem:
                done += [Refreshed(one.view, error=problem) for one in mine]
        return done

    def preview(self, pending: Pending, limits: ViewLimits, *, samples: int) -> Preview:
        """Run a view's query in its database, and write nothing."""
        return self._of(pending.view).preview(pending, limits, samples=samples)

    def _of(self, view: View) -> ViewStore:
        return self._store(view.database_id) if view.database_id in self.elsewhere else self.warehouse

    def _store(self, number: int) -> ViewStore:
        if number not in self._opened:  # two threads that both open it are harmless: the views are in the database
            self._opened[number] = self.elsewhere[number]()
        return self._opened[number]
