"""What a crash leaves behind: found, and removed once nobody can be writing it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from signalroom.clients.durable import TEMPORARY
from signalroom.failpoints import failpoint
from signalroom.lake import archive, manifest
from signalroom.lake.ids import is_id, moment_of
from signalroom.lake.layout import Layout


def sweep(layout: Layout, limit: datetime) -> list[str]:
    """Remove loads without a marker, and half-written files, that nobody touched since ``limit``.

    Args:
        layout: The lake's folders.
        limit: What is younger may be at work.

    Returns:
        The folders that were removed.
    """
    newest: dict[str, datetime] = {}
    committed: set[str] = set()
    for key, moment in _entries(layout):
        source, stream, load_id, name = (*key.split("/", 3), "", "", "")[:4]
        if TEMPORARY.fullmatch(key.rpartition("/")[2]) and moment < limit:
            layout.store.delete([key])
        if source == archive.FOLDER or not is_id(load_id):
            continue
        folder = layout.folder(source, stream, load_id)
        newest[folder] = max(moment, newest.get(folder, moment))
        if name == manifest.NAME:
            committed.add(folder)
    swept = sorted(folder for folder, moment in newest.items() if folder not in committed and moment < limit)
    for folder in swept:
        failpoint("lake.sweep")
        layout.remove(*folder.split("/"))
    return swept


def sweep_stream(layout: Layout, source: str, stream: str, limit: datetime) -> list[str]:
    """Do the same for the loads of one stream; nothing but a load without a marker is looked into."""
    begun = layout.begun(source, stream)  # listed first: what is committed in between counts as committed
    committed = set(layout.committed(source, stream))
    left = [one for one in begun if one not in committed and moment_of(one) < limit]
    folders = [layout.folder(source, stream, load_id) for load_id in left]
    swept = [folder for folder in folders if all(moment < limit for _, moment in _entries(layout, folder))]
    for folder in swept:
        failpoint("lake.sweep")
        layout.remove(*folder.split("/"))
    return swept


def _entries(layout: Layout, below: str = "") -> Iterator[tuple[str, datetime]]:
    """Yield key and time of every object; of a local lake its folders as well, since an empty one is litter too."""
    root = layout.store.local_path("")
    if root is None:
        yield from ((info.key, info.last_modified) for info in layout.store.list(below))
        return
    for folder, _, names in os.walk(root / below):
        inner = Path(folder).relative_to(root)
        for key in (inner, *(inner / name for name in names)):
            try:
                modified = (root / key).stat().st_mtime
            except FileNotFoundError:
                continue
            yield key.as_posix(), datetime.fromtimestamp(modified, UTC)
