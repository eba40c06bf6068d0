"""The contract suites, shipped for plugin authors."""
