"""The steps, in the order of their revisions; a released one is never edited."""
