"""Mail over an encrypted wire to a server that asks who we are, and a server whose certificate does not hold."""

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword

import channel_benches as benches
import mail_certificates
from signalroom.errors import ConfigError, RetryableError, UnknownOutcomeError
from signalroom.testing.channels import MESSAGE, HandClock

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with an authority, and the server's side of TLS for this machine."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = mail_certificates.authority(folder)
    return authority, mail_certificates.server_context(folder, "IP:127.0.0.1")


def who(server, session, envelope, mechanism, data):
    """Let Ann in with the password that is written in no setting as it is."""
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ann", b"s:e@c/ret")
    return AuthResult(success=known, auth_data=data.login) if known else AuthResult(success=False, handled=False)


def encrypted(kind, context):
    """Return the scheme of the address and what the server needs for it."""
    if kind == "tls":  # behind TLS from the first byte the library takes the wire for a plain one
        return "smtps", {"authenticator": who, "ssl_context": context, "auth_require_tls": False}
    return "smtp", {"authenticator": who, "tls_context": context, "require_starttls": True, "auth_required": True}


def send(bench):
    return bench.channel.send(MESSAGE, bench.channel.recipients()[0], KEY)


def smtp(clock, kind, context, **settings):
    scheme, server = encrypted(kind, context)
    scheme = settings.pop("scheme_is", scheme)
    given = {"login": "ann:s%3Ae%40c%2Fret@"} | settings
    return benches.smtp(clock, scheme=scheme, server_settings=server, security=None, **given)


@pytest.mark.parametrize("kind", ["tls", "starttls"])
def test_a_mail_goes_over_an_encrypted_wire_to_a_server_that_knows_us(certificates, monkeypatch, kind):
    authority, context = certificates
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with smtp(HandClock(), kind, context) as bench:
        assert bench.channel.check() == []
        assert "queued" in send(bench)
        assert (bench.arrived(), bench.server.signed_in) == (1, [b"ann"])


@pytest.mark.parametrize("kind", ["tls", "starttls"])
def test_a_wrong_password_is_refused_and_not_repeated_in_the_error(certificates, monkeypatch, kind):
    authority, context = certificates
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with smtp(HandClock(), kind, context, login="ann:s3cr3t-wrong@") as bench:
        with pytest.raises(ConfigError, match="refused the user or the password") as caught:
            send(bench)
        assert "s3cr3t" not in str(caught.value)
        assert bench.arrived() == 0


@pytest.mark.parametrize("kind", ["tls", "starttls"])
def test_a_certificate_of_an_unknown_authority_is_refused(certificates, kind):
    with smtp(HandClock(), kind, certificates[1]) as bench:
        with pytest.raises(ConfigError, match=r"certificate of the mail server .* does not hold") as caught:
            send(bench)
        assert "SSL_CERT_FILE" in caught.value.mend
        assert "does not hold" in bench.channel.check()[0]
        assert (bench.arrived(), bench.server.recipients_asked) == (0, [])


@pytest.mark.parametrize("kind", ["tls", "starttls"])
def test_a_certificate_for_another_name_is_refused(certificates, monkeypatch, kind):
    authority, context = certificates
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with smtp(HandClock(), kind, context, host="localhost") as bench:
        with pytest.raises(ConfigError, match="does not hold: Hostname mismatch") as caught:
            send(bench)
        assert "name that is on it" in caught.value.mend
        assert bench.arrived() == 0


def test_plain_text_is_never_sent_where_tls_was_asked_for(certificates):
    with smtp(HandClock(), "starttls", certificates[1], scheme_is="smtps") as bench:
        with pytest.raises(RetryableError, match="cannot be reached") as caught:
            send(bench)
        assert not isinstance(caught.value, UnknownOutcomeError)
        assert bench.arrived() == 0


def test_a_server_that_takes_the_mail_and_never_answers_leaves_it_in_doubt():
    with benches.smtp(HandClock(), timeout_s=0.2) as bench:
        bench.server.next_data = "be silent"
        with pytest.raises(UnknownOutcomeError, match="had the whole mail and did not say"):
            send(bench)
        assert bench.arrived() == 1
