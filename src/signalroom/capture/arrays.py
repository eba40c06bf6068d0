"""Arrow arrays over numpy's memory: nothing is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def array(kind: pa.DataType, valid: Any, *data: Any) -> pa.Array[Any]:
    """Return an array of ``kind`` whose buffers are ``data``; cells that are not ``valid`` are null.

    Args:
        kind: Its type.
        valid: A flag for each cell.
        data: What the type keeps, in Arrow's layout: values, or offsets and bytes, or views and bytes.
    """
    import numpy as np
    import pyarrow as pa

    packed: Any = None if bool(valid.all()) else np.packbits(valid, bitorder="little")
    held = [None if one is None else pa.py_buffer(one) for one in (packed, *data)]
    return pa.Array.from_buffers(kind, len(valid), held)
