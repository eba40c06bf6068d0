"""Alerts: checks over what happened and what is loaded, grouped by cause, told once to who must know."""
