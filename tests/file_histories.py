"""Histories of files for property tests: late ones, corrected ones, and the bytes of one under another's name."""

from __future__ import annotations

from hypothesis import strategies as st

from warehouse_laws import FileHistory, Upload

cells_k = st.sampled_from(["1", "2", "3", "4", "5", "6", "x", ""])
cells_o = st.sampled_from(["", "1", "2", "2", "3", "12.7"])
cells_v = st.sampled_from(["", "a", "b", "c"])
rows = st.lists(st.tuples(cells_k, cells_o, cells_v), max_size=7).map(tuple)


@st.composite
def uploads(draw: st.DrawFn, pool: list[Upload]) -> Upload:
    """A new file, a late one, a corrected one, or the bytes of an earlier one under another name."""
    key = draw(st.sampled_from(["a.csv", "b.csv", "c.csv", "d.csv"]))
    day = draw(st.integers(0, 4))
    if pool and draw(st.integers(0, 3)) == 0:
        twin = draw(st.sampled_from(pool))
        made = Upload(key, day, twin.rows, twin.blank)
    else:
        made = Upload(key, day, draw(rows), draw(st.integers(0, 9)) == 0)
        made = Upload(key, day, (), blank=True) if made.blank else made
    pool.append(made)
    return made


@st.composite
def histories(draw: st.DrawFn) -> FileHistory:
    pool: list[Upload] = []
    loads = []
    for _ in range(draw(st.integers(1, 5))):
        found = [draw(uploads(pool)) for _ in range(draw(st.integers(1, 3)))]
        loads.append(tuple({upload.key: upload for upload in found}.values()))
    order = draw(st.permutations(range(len(loads)))) if draw(st.booleans()) else list(range(len(loads)))
    merges: list[tuple[int, ...]] = []
    while order:
        taken = draw(st.integers(1, len(order)))
        merges.append(tuple(order[:taken]))
        order = order[taken:]
    disposition = draw(st.sampled_from(["merge", "merge", "merge", "append", "replace"]))
    by = draw(st.sampled_from([("_file_time", "_row"), ("o",), ("o", "_row"), ()])) if disposition == "merge" else ()
    return FileHistory(tuple(loads), tuple(merges), disposition, by)
