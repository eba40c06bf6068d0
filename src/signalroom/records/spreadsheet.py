"""Rows as CSV that a spreadsheet opens as what they are: no cell of theirs is ever run as a formula.

The danger is OWASP's "CSV injection": a text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break is a
formula to Excel, LibreOffice and Google Sheets, whoever wrote it. Such a text is given an apostrophe in front, which
they take as "this is text". Numbers stay numbers, and a text that is a number with its sign (a telephone number) is
left alone: it computes to nothing but itself.
"""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# Full-width signs too: spreadsheets fold them to their plain forms.
_FORMULA = "^[\\s\\pZ\\pC]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|^[\\t\\r\\n\\x00]"
_NUMBER = "^[+-]?[0-9][0-9 ().,/-]*$"


def write_csv(table: pa.Table, out: IO[bytes]) -> None:
    """Write a header and the rows of ``table`` as UTF-8 CSV (RFC 4180), texts that would be formulas made harmless.

    Every text is quoted, so that an empty one differs from null; lists, structs and maps are written as JSON, bytes as
    hexadecimal digits. Two columns may have one name.
    """
    import pyarrow as pa
    from pyarrow import csv

    columns = [_harmless(_plain(column)) for column in table.columns]
    names = _harmless(pa.chunked_array([pa.array(table.column_names, pa.string())])).to_pylist()
    header = ",".join('"' + str(name).replace('"', '""') + '"' for name in names)
    out.write(header.encode() + b"\n")
    if columns:  # a header of our own: Arrow's writer asks for names that differ
        rows = pa.table(columns, names=[str(at) for at in range(len(columns))])
        csv.write_csv(rows, out, csv.WriteOptions(include_header=False, quoting_style="needed"))


def _plain(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Return what CSV has no spelling for as text."""
    import pyarrow as pa
    import pyarrow.types as of

    kind = column.type
    if of.is_nested(kind):
        texts = [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in
                 column.to_pylist()]  # fmt: skip
        return pa.chunked_array([pa.array(texts, pa.string())])
    if of.is_binary(kind) or of.is_large_binary(kind) or of.is_fixed_size_binary(kind):
        digits = [None if value is None else _hex(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(digits, pa.string())])
    if of.is_dictionary(kind) or of.is_string_view(kind) or of.is_large_string(kind):
        return column.cast(pa.string())
    if of.is_duration(kind) or of.is_interval(kind):
        return pa.chunked_array([pa.array([None if value is None else str(value) for value in column.to_pylist()])])
    return column


def _hex(value: Any) -> str:
    return bytes(value).hex()


def _harmless(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type):
        return column
    formula = pc.and_(pc.match_substring_regex(column, _FORMULA), pc.invert(pc.match_substring_regex(column, _NUMBER)))
    return pc.if_else(formula, pc.replace_substring_regex(column, "^", "'", max_replacements=1), column)
