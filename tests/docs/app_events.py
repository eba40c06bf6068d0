"""A fundraising app's Segment-style events, and the supporter page report as a consumer makes it of them alone."""

from collections import Counter
from dataclasses import dataclass, field

AGREED = (
    "Page Created", "Page Updated", "Donation Received", "Offline Donation Received", "Custom Counter Updated",
    "Team Created", "Team Updated", "Charity Created", "Charity Updated", "Campaign Created", "Campaign Updated",
    "User Created", "User Updated",
)  # fmt: skip
"""What the app emits by the template's list, docs/fields.toml."""

PROPOSED = {
    "Page Deleted": "id",
    "Donation Refunded": "id, is_online",
    "Donation Corrected": "id, page_id, amount, is_online",
}
"""What it does not emit, by the properties that serve the report."""

MINTED = {"page_id", "team_id"}
"""Fields of the report that no event can have: the app has no such uuids, the leader kit minted them."""


@dataclass
class Consumer:
    """What a careful consumer keeps of events: of each thing its newest state, of each gift and count its amount."""

    rows: dict = field(default_factory=lambda: {kind: {} for kind in ("Page", "Team", "Charity", "Campaign", "User")})
    gifts: dict = field(default_factory=dict)
    counted: Counter = field(default_factory=Counter)

    def take(self, event, told):
        """Take one event with its properties."""
        kind, _, what = event.rpartition(" ")
        match kind, what:
            case ("Donation" | "Offline Donation", "Received"):
                self.gifts[told["is_online"], told["id"]] = (told["page_id"], told["amount"])
            case "Donation", "Refunded":
                self.gifts.pop((told["is_online"], told["id"]), None)
            case "Donation", "Corrected":
                self.gifts[told["is_online"], told["id"]] = (told["page_id"], told["amount"])
            case "Custom Counter", "Updated":
                self.counted[told["page_id"]] += told["counted"]
            case "Page", "Deleted":
                self.rows["Page"].pop(told["id"], None)
            case _:
                self.rows[kind][told["id"]] = told

    def report(self):
        """Return page id -> its row of the report."""
        return {number: self._row(page) for number, page in self.rows["Page"].items()}

    def _row(self, page):
        campaign = self.rows["Campaign"].get(page["campaign_id"], {})
        charity = self.rows["Charity"].get(campaign.get("charity_id"), {})
        is_teams_own = page["owner_type"] == "Team"
        team_id = page["owner_id"] if is_teams_own else page["team_id"]
        team = self.rows["Team"].get(team_id, {})
        user = {} if is_teams_own else self.rows["User"].get(page["owner_id"], {})
        first, _, last = user.get("name", "").strip().partition(" ")
        page_totals = self._totals(team_id) if is_teams_own else self._totals(None, page["id"])
        row = {
            "charity_name": charity.get("name"), "campaign_name": campaign.get("name"),
            "campaign_id": campaign.get("uuid"), "page_name": page["name"], "page_url": page["url"],
            "currency_code": page["currency_code"], "page_target": page["target"],
            "custom_counter_total": self.counted[page["id"]], "page_expiry_date": page["expiry_date"],
            "page_created_at": page["created_at"], "page_status": page["status"], "team_name": team.get("name"),
            "team_page_url": team.get("url"), "team_position": page["team_position"],
            "team_created_at": team.get("created_at"), "supporter_id": user.get("uuid"),
            "supporter_first_name": first or None, "supporter_last_name": last or None,
            "supporter_address_1": user.get("street_address"), "supporter_address_2": user.get("address"),
            "supporter_state": user.get("region") or user.get("locality"),
        }  # fmt: skip
        named = ("birthday", "email", "phone", "city", "postal_code", "country")
        row |= {f"supporter_{name}": user.get(name) for name in named}
        row |= {f"page_{name}": total for name, total in page_totals.items()}
        in_a_team = self._totals(team_id) if team else dict.fromkeys(page_totals)
        return row | {f"team_{name}": total for name, total in in_a_team.items()}

    def _totals(self, team_id, page_id=None):
        """Return what was given to a page, or to the pages of a team and its own."""
        sums = Counter()
        for (is_online, _), (page, amount) in self.gifts.items():
            if page_id == page if team_id is None else self._counts_for(page, team_id):
                sums[is_online] += amount
        return {"online_total": sums[True], "offline_total": sums[False], "total": sums.total()}

    def _counts_for(self, page_id, team_id):
        page = self.rows["Page"].get(page_id, {})
        return team_id == (page.get("owner_id") if page.get("owner_type") == "Team" else page.get("team_id"))


def differing(here, true):
    """Return how many rows differ, those that only one side has included, and field -> rows in which it does."""
    fields, rows = Counter(), 0
    for number in here.keys() | true.keys():
        if number not in here or number not in true:
            fields["the row itself"] += 1
            rows += 1
            continue
        wrong = [name for name, value in true[number].items() if here[number][name] != value]
        fields.update(wrong)
        rows += bool(wrong)
    return rows, fields
