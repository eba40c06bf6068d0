"""Raw, as it arrived: append, list, replay, sweep."""
