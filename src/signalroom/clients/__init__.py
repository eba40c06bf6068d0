"""Wires shared by stages."""
