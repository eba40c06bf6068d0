"""A small workspace with report views for tests: clicks of two agencies, one custom report, one canned for both."""

TOML = """
name = "network"
timezone = "UTC"

[sources.shop]
kind = "files"
url = "exports"
[sources.shop.streams.clicks]
path = "clicks/*.csv"
key = ["id"]
write = "merge"

[views]
tables = ["shop.clicks"]
"""
VIEWS = """
[[agencies]]
id = 7
slug = "acme"
name = "Acme Media"

[[agencies]]
id = 8
slug = "bolt"
name = "Bolt & Sons"

[[canned]]
id = 1
table_name = "daily"
report_name = "By day"
query = "select day, count(*) as clicks, sum(revenue) as revenue from clicks group by day"

[[assigned]]
id = 1
agency = "acme"
canned_report = 1

[[assigned]]
id = 2
agency = "bolt"
canned_report = 1

[[custom]]
id = 1
agency = "acme"
table_name = "acme_offers"
report_name = "Offers"
query_file = "acme_offers.sql"
"""
OFFERS = "select offer, sum(revenue) as revenue from clicks group by offer\n"


def make_network(root, more=""):
    """Make the workspace at ``root`` and return it."""
    rows = [f"{n},{7 + n % 2},2026-11-{10 + n % 5},offer {n % 3},{n}.25" for n in range(1, 41)]
    for name, text in {
        "signalroom.toml": TOML + more,
        "exports/clicks/a.csv": "\n".join(["id,agency_id,day,offer,revenue", *rows]) + "\n",
        "views/agencies.toml": VIEWS,
        "views/acme_offers.sql": OFFERS,
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root
