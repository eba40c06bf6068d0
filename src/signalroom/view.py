"""What a manifest asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """One report view for one agency, refreshed and never dropped.

    Attributes:
        name: Public name of the view.
        report_name: What people call it.
        agency_id: Whose it is.
        agency_slug: The agency's schema and role suffix.
        query: One SELECT over the agency's own rows.
    """

    name: str
    report_name: str
    agency_id: int
    agency_slug: str
    query: str
