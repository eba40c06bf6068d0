"""What happened, in a database people can query."""
