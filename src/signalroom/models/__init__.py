"""dbt in-process, its artefacts read back."""
