"""Who is in the affiliates world: advertisers, affiliates, offers, ad sources and how they map.

Everybody here is invented. Labels keep the blemishes of real systems (outer blanks, commas, umlauts),
because the product has to survive them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advertiser:
    """A brand that pays for conversions; its label is also the project's name."""

    id: int
    label: str


@dataclass(frozen=True, slots=True)
class Affiliate:
    """A partner that sends traffic; the label is spelled as upstream spells it, outer blanks included."""

    id: int
    label: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What is sold; money in cents per conversion, payout to an external affiliate."""

    id: int
    label: str
    advertiser_id: int
    revenue_cents: int
    payout_cents: int


@dataclass(frozen=True, slots=True)
class Placement:
    """One affiliate running one offer.

    One day in `quiet_every` (by the date's ordinal) has no traffic at all; 0 for none.
    """

    affiliate_id: int
    offer_id: int
    conversions_per_day: float
    clicks_per_conversion: int
    quiet_every: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A traffic source of the ad tracker."""

    id: str
    label: str
    alias: str


@dataclass(frozen=True, slots=True)
class AdCampaign:
    """A campaign of a source, promoting one of the tracker's own offers; mean spend in cents a day."""

    id: str
    label: str
    source_id: str
    offer_id: str
    offer_label: str
    cents_per_day: int
    runs_every: int = 1


@dataclass(frozen=True, slots=True)
class MappingRow:
    """One row of `internal-affiliates.csv`: this source's spend belongs to this internal affiliate."""

    project: str
    affiliate_id: int
    affiliate_label: str
    source_id: str | None
    source_label: str | None
    offer_id: int | None
    notes: str | None


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody in the world, in a stable order."""

    advertisers: tuple[Advertiser, ...]
    affiliates: tuple[Affiliate, ...]
    offers: tuple[Offer, ...]
    placements: tuple[Placement, ...]
    sources: tuple[Source, ...]
    campaigns: tuple[AdCampaign, ...]
    mapping: tuple[MappingRow, ...]

    def advertiser(self, project: str) -> Advertiser:
        """Return the advertiser of a project.

        Raises:
            ValueError: No advertiser has that label.
        """
        for advertiser in self.advertisers:
            if advertiser.label == project:
                return advertiser
        known = ", ".join(advertiser.label for advertiser in self.advertisers)
        raise ValueError(f"no project {project!r}; there are {known}")

    def internal_labels(self, project: str) -> dict[int, str]:
        """Return internal affiliate id -> the stripped label of its first row for that project."""
        labels: dict[int, str] = {}
        for row in self.mapping:
            if row.project == project:
                labels.setdefault(row.affiliate_id, row.affiliate_label.strip())
        return labels

    def mapped_sources(self, project: str | None = None) -> frozenset[str]:
        """Return the ids of the sources mapped to a project, or to any project."""
        return frozenset(
            row.source_id for row in self.mapping if row.source_id is not None and project in {None, row.project}
        )

    def affiliates_of(self, project: str) -> tuple[int, ...]:
        """Return the ids of the affiliates that run an offer of the project, in cast order."""
        wanted = self.advertiser(project).id
        offers = {offer.id for offer in self.offers if offer.advertiser_id == wanted}
        return tuple(place.affiliate_id for place in self.placements if place.offer_id in offers)


def affiliates_cast() -> Cast:
    """Return the cast of the affiliates template's world."""
    sources = _SOURCES
    return Cast(
        advertisers=(Advertiser(1, "CCW"), Advertiser(2, "EXP")),
        affiliates=_AFFILIATES,
        offers=_OFFERS,
        placements=_PLACEMENTS,
        sources=tuple(sources.values()),
        campaigns=_CAMPAIGNS,
        mapping=(
            _mapped("CCW", 11, "Social Main ", sources["social"], 501),
            _mapped("CCW", 11, "Social Retargeting", sources["retargeting"], None, notes="same desk, second account"),
            _mapped("CCW", 12, "Search Desk ", sources["search"], 501),
            _mapped("CCW", 15, "Display Lab", sources["display"], None, notes="often spends, seldom converts"),
            _mapped("CCW", 14, "House Email", None, None, notes="no ad spend"),
            _mapped("EXP", 12, "Search Desk EXP", sources["search_exp"], 601),
            _mapped("EXP", 13, "Native Desk  ", sources["native"], None),
            _mapped("EXP", 13, "Native Desk, weekends", sources["native_weekend"], None),
        ),
    )


def _mapped(
    project: str,
    affiliate_id: int,
    label: str,
    source: Source | None,
    offer_id: int | None,
    *,
    notes: str | None = None,
) -> MappingRow:
    if source is None:
        return MappingRow(project, affiliate_id, label, None, None, offer_id, notes)
    return MappingRow(project, affiliate_id, label, source.id, source.label, offer_id, notes)


_AFFILIATES = (
    Affiliate(11, "Social Desk "),
    Affiliate(12, "Search Desk"),
    Affiliate(13, "Native Desk"),
    Affiliate(14, "House Email"),
    Affiliate(15, "Display Lab"),
    Affiliate(101, "Northbank Media "),
    Affiliate(102, "Blue Harbor Leads"),
    Affiliate(103, "Cedar & Pine Partners"),
    Affiliate(104, "Lantern Traffic  "),
    Affiliate(105, "Ostrich Digital"),
    Affiliate(106, "Quiet River Media"),
    Affiliate(107, "Übersee Performance"),
    Affiliate(108, " Pike Street Ads"),
    Affiliate(109, "Tamarack, Ltd."),
    Affiliate(110, 'The "Niche" Collective'),
)

_OFFERS = (
    Offer(501, "CCW Front", 1, 11_050, 7_225),
    Offer(502, "CCW Winter Special ", 1, 14_999, 9_510),
    Offer(601, "EXP Starter", 2, 6_425, 4_075),
    Offer(602, "EXP Family, Annual", 2, 18_000, 11_265),
)

_PLACEMENTS = (
    Placement(11, 501, 52.0, 21),
    Placement(11, 502, 17.0, 30),
    Placement(12, 501, 34.0, 14),
    Placement(14, 501, 9.0, 8),
    Placement(15, 502, 4.0, 90, quiet_every=3),
    Placement(101, 501, 41.0, 18),
    Placement(102, 501, 33.0, 17),
    Placement(103, 502, 26.0, 25),
    Placement(104, 501, 21.0, 19),
    Placement(105, 502, 12.0, 33),
    Placement(110, 501, 0.6, 40),
    Placement(12, 601, 28.0, 16),
    Placement(13, 601, 31.0, 44),
    Placement(13, 602, 8.0, 61),
    Placement(104, 601, 11.0, 20),
    Placement(106, 601, 24.0, 22),
    Placement(107, 602, 15.0, 27),
    Placement(108, 601, 13.0, 24),
    Placement(109, 602, 6.0, 35),
)

_SOURCES = {
    "social": Source("66aa04c1d3b0e7000128f101", "Social Main", "social"),
    "retargeting": Source("66aa04c1d3b0e7000128f102", "Social Retargeting ", "social"),
    "search": Source("66aa04c1d3b0e7000128f103", "Search Brand", "search"),
    "search_exp": Source("66aa04c1d3b0e7000128f104", "Search EXP", "search"),
    "native": Source("66aa04c1d3b0e7000128f105", "Native Feed", "native"),
    "native_weekend": Source("66aa04c1d3b0e7000128f106", "Native Feed Weekend", "native"),
    "display": Source("66aa04c1d3b0e7000128f107", "Display Lab", "display"),
    "audio": Source("66aa04c1d3b0e7000128f108", "Audio Pilot", "audio"),
    "video": Source("66aa04c1d3b0e7000128f109", "Video Test", "video"),
}


def _campaign(number: int, source: str, offer: str, cents_per_day: int, runs_every: int = 1) -> AdCampaign:
    return AdCampaign(
        id=f"66b1{number:020x}",
        label=f"{_SOURCES[source].label.strip()} {number:02d}",
        source_id=_SOURCES[source].id,
        offer_id=f"66c2{sum(offer.encode()):020x}",
        offer_label=offer,
        cents_per_day=cents_per_day,
        runs_every=runs_every,
    )


# Audio Pilot and Video Test are in no mapping row: their spend is unmapped.
_CAMPAIGNS = (
    _campaign(1, "social", "Front lander", 284_000),
    _campaign(2, "social", "Winter lander", 121_500),
    _campaign(3, "retargeting", "Front lander", 61_300),
    _campaign(4, "search", "Front lander", 198_200),
    _campaign(5, "search_exp", "Starter lander", 88_400),
    _campaign(6, "native", "Starter lander", 74_900),
    _campaign(7, "native", "Family lander", 39_600),
    _campaign(8, "native_weekend", "Starter lander", 28_700),
    _campaign(9, "display", "Winter lander", 33_300),
    _campaign(10, "audio", "Front lander", 19_950),
    _campaign(11, "video", "Starter lander", 12_345, runs_every=3),
)
