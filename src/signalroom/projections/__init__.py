"""Projections: an app's reporting rows, kept by its own database and followed into the warehouse."""
