"""What counts as a record in bytes: one law, independent of any parser.

Two readers share it. The *scanners* walk the bytes of a regular file at the speed of memory and only count; the
*careful* readers take the files the scanners call irregular and say, record by record, what is wrong.

A CSV record ends at a line end outside quotes; a field is quoted when its first byte is a quote, and a quote inside
is doubled. Empty lines are not records, nor is the header (the first line that is not empty). A record whose quotes
make no sense is cut at its first line end and reading resumes on the next line, so that one stray quote costs one
record and not the rest of the file. A JSON Lines record is a line that is not blank.
"""

from signalroom.records.careful import Record, careful, careful_header, careful_lines
from signalroom.records.scan import CsvScanner, LineScanner, Scan, recount

__all__ = [
    "CsvScanner",
    "LineScanner",
    "Record",
    "Scan",
    "careful",
    "careful_header",
    "careful_lines",
    "recount",
]
