"""Changes of a Postgres database as columns: logical decoding and COPY, decoded to Arrow without a loop over rows."""
