"""What a ledger promises about API keys, whatever database keeps it."""

from datetime import timedelta

import pytest

from signalroom.errors import ConfigError
from signalroom.ledger.keys import ApiKey
from view_laws import GIVEN


def changed(token, place):
    """Return a token with one character changed."""
    return token[:place] + ("x" if token[place] != "x" else "y") + token[place + 1 :]


class KeyLaws:
    """Keys: needs a ``ledger`` opened with ``clock``."""

    def test_a_key_is_known_by_its_text_alone_which_is_kept_nowhere(self, ledger):
        ledger.manifests.bring(GIVEN)
        key, token = ledger.keys.create("agency", agency_id=7, name="portal")
        assert (key.role, key.agency_id, key.agency_slug, key.last_used_at) == ("agency", 7, "acme", None)
        assert ledger.keys.verify(token) == key
        secret = token.rpartition("_")[2]
        with ledger._store.read() as connection:
            kept = str(connection.execute(ledger._store.tables.keys.select()).all())
        assert key.key_id in kept
        assert secret not in kept
        for wrong in (*(changed(token, place) for place in range(len(token))), "", "sr_", f"sr_{key.key_id}_", "é"):
            assert ledger.keys.verify(wrong) is None, wrong

    def test_a_key_holds_until_it_expires_is_revoked_or_its_agency_is_gone(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        _, short = ledger.keys.create("operator", expires_at=clock.now() + timedelta(hours=1))
        lasting, long = ledger.keys.create("admin")
        assert ledger.keys.verify(short)
        clock.advance(3600)
        assert ledger.keys.verify(short) is None
        assert ledger.keys.verify(long)
        assert ledger.keys.revoke(lasting.key_id).state(clock.now()) == "revoked"
        revoked_at = ledger.keys.revoke(lasting.key_id).revoked_at
        assert ledger.keys.verify(long) is None
        clock.advance(60)
        assert ledger.keys.revoke(lasting.key_id).revoked_at == revoked_at
        states = sorted(one.state(clock.now()) for one in ledger.keys.list())
        assert states == ["expired", "revoked"]
        orphan = ApiKey("k", "", "agency", 99, "", clock.now())
        assert orphan.state(clock.now()) == "orphaned"

    def test_when_it_was_used_is_told_to_the_minute(self, ledger, clock):
        key, token = ledger.keys.create("operator")
        first = clock.now()
        for seconds, told in ((0, first), (59, first), (1, first + timedelta(seconds=60))):
            clock.advance(seconds)
            ledger.keys.verify(token)
            assert next(one.last_used_at for one in ledger.keys.list() if one.key_id == key.key_id) == told

    def test_a_key_is_an_agencys_or_has_a_role(self, ledger):
        for role, agency in (("agency", None), ("operator", 7), ("admin", 7)):
            with pytest.raises(ConfigError, match="either an agency's or has a role"):
                ledger.keys.create(role, agency_id=agency)
        with pytest.raises(ConfigError, match="no agency 99"):
            ledger.keys.create("agency", agency_id=99)
        with pytest.raises(ConfigError, match="no key 'nothing'"):
            ledger.keys.revoke("nothing")
        assert ledger.keys.list() == []
