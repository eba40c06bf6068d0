"""Reports: rows in, messages out."""
