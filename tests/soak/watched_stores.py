"""Stores of projections that are watched: with their guard, and, as a negative control, without it."""

import threading
import time


class Watch:
    """Counts the rows that a reader sees in an older version than somebody saw before."""

    def __init__(self, figures):
        self._figures, self._seen, self._lock = figures, {}, threading.Lock()

    def look(self, read):
        with self._lock:
            for name, (version, _) in read().items():
                self._figures.backward += version < self._seen.get(name, 0)
                self._seen[name] = max(version, self._seen.get(name, 0))


class Slow:
    """A store that leaves some time between the reading of rows and their upsert, and is watched after each."""

    def __init__(self, store, chance, watch):
        self._store, self._chance, self._watch = store, chance, watch

    def upsert(self, entity, rows, at, **more):
        time.sleep(self._chance.uniform(0, 0.2))
        return self.applied(entity, rows, at, more)

    def applied(self, entity, rows, at, more):
        done = self._store.upsert(entity, rows, at, **more)
        if entity.name == "page":
            self._watch.look(lambda: self._store.versions(entity, ()))
        return done

    def __getattr__(self, name):
        return getattr(self._store, name)


class Unguarded(Slow):
    """The negative control: a store that takes whatever comes."""

    def applied(self, entity, rows, at, more):
        here = {}
        if entity.name in self._store.states(entity.projection):
            here = {name: version for name, (version, _) in self._store.versions(entity, ()).items()}
        return super().applied(entity, rows, at, {**more, "undo": here})
