"""`signalroom keys` as people use it: shown once, listed without its secret, refused with a sentence."""

from agency_workspace import make_network
from shop_workspace import ask, call


def test_a_key_from_its_making_to_its_end(tmp_path):
    shop = make_network(tmp_path)
    assert "There are no keys" in call(shop, "keys").stdout
    said = call(shop, "keys", "create", "--agency", "acme", "--name", "Portal").stdout
    token, told = said.splitlines()
    assert token.startswith("sr_")
    assert "It is for agency acme, holds until 20" in told
    team = ask(shop, "keys", "create", "--role", "operator", "--expires", "never")
    assert (team["role"], team["agency"], team["expires_at"]) == ("operator", None, None)
    shown = call(shop, "keys", "list").stdout
    assert "agency acme  valid" in shown
    assert "Portal" in shown
    assert token not in shown
    assert max(map(len, shown.splitlines())) <= 80
    call(shop, "keys", "revoke", team["key_id"])
    states = {one["key_id"]: one["state"] for one in ask(shop, "keys")["keys"]}
    assert states == {token.split("_")[1]: "valid", team["key_id"]: "revoked"}
    assert all("key" not in one and "hash" not in one for one in ask(shop, "keys")["keys"])
    for words, told in (
        (("--agency", "acmee"), "Did you mean 'acme'?"),
        ((), "Name one of --agency and --role."),
        (("--agency", "acme", "--role", "admin"), "Name one of --agency and --role."),
        (("--role", "admin", "--expires", "soon"), "write an age such as 12h or 90d, or never"),
    ):
        assert told in call(shop, "keys", "create", *words, code=2).stderr
    assert "There is no key 'nope'." in call(shop, "keys", "revoke", "nope", code=2).stderr
