"""Tables, exactly once: one plan, each engine's SQL in its own file."""
