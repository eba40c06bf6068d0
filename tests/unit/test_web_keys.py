"""The API of keys: what an admin may do with them, and what a body may not say."""

from datetime import timedelta

import pytest

from api_site import ApiSite
from signalroom.web.keys import KEY, MADE

KEYS = "/api/keys"


@pytest.fixture
def api(tmp_path):
    site = ApiSite(tmp_path)
    yield site
    site.close()


def test_a_key_is_made_shown_once_used_and_taken_back(api):
    wanted = {"agency": "acme", "name": "Acme's portal", "expiresInDays": 90}
    answer = api.call(KEYS, "admin", "POST", json=wanted)
    made = answer.json()
    assert answer.status_code == 201
    assert list(made) == [one.name for one in MADE.fields]
    assert (made["role"], made["agency"], made["name"], made["state"]) == ("agency", "acme", "Acme's portal", "valid")
    api.keys["new"] = made.pop("key")
    assert [one["tableName"] for one in api.call("/api/seeder/jobs", "new").json()] == ["acme_top", "daily__acme"]
    listed = {one["id"]: one for one in api.call(KEYS, "admin").json()}
    assert {**listed[made["id"]], "lastUsedAt": None} == made
    assert api.keys["new"] not in api.call(KEYS, "admin").text
    gone = api.call(f"{KEYS}/{made['id']}/revoke", "admin", "POST")
    assert (gone.status_code, gone.json()["state"], list(gone.json())) == (200, "revoked", [f.name for f in KEY.fields])
    assert api.call("/api/seeder/jobs", "new").status_code == 401
    assert api.call(f"{KEYS}/{made['id']}/revoke", "admin", "POST").json() == gone.json()


def test_a_key_ends_in_a_year_unless_it_is_told_otherwise(api):
    (found,) = [one for one in api.ledger.keys.list() if one.role == "operator"]
    for days, ends in (({}, 365), ({"expiresInDays": 1}, 1), ({"expiresInDays": None}, None)):
        key_id = api.call(KEYS, "admin", "POST", json={"role": "operator", **days}).json()["id"]
        (made,) = [one for one in api.ledger.keys.list() if one.key_id == key_id]
        assert made.expires_at == (None if ends is None else api.clock.now() + timedelta(days=ends))
        assert (made.role, made.agency_id) == (found.role, None)


def test_a_list_is_bounded(api):
    assert len(api.call(f"{KEYS}?limit=2", "admin").json()) == 2
    assert api.call(f"{KEYS}?limit=5001", "admin").status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {}, {"role": "agency"}, {"role": "root"}, {"role": "admin", "agency": "acme"}, {"agency": "nowhere"},
        {"role": "admin", "expiresInDays": 0}, {"role": "admin", "expiresInDays": True},
        {"role": "admin", "expiresInDays": 10**9}, {"role": "admin", "name": "a\nb"},
        {"role": "admin", "name": "x" * 201}, {"role": 7}, {"role": "admin", "scope": "all"}, [], "admin",
    ],
    ids=repr,
)  # fmt: skip
def test_what_a_key_cannot_be(api, body):
    before = api.ledger.keys.list()
    answer = api.call(KEYS, "admin", "POST", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_body")
    assert len(api.ledger.keys.list()) == len(before)
