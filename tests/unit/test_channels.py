"""What each channel does beyond the contract: its forms, its limits, its refusals, its way back."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import channel_benches as benches
from signalroom.channels.mail import CLIPPED_BYTES, to_email
from signalroom.channels.slack import EVENT_TYPE, Slack
from signalroom.channels.sms import Sms
from signalroom.channels.webhook import signature
from signalroom.errors import ConfigError, DataError, RetryableError, UnknownOutcomeError
from signalroom.message import Image, Message
from signalroom.simulators import faults
from signalroom.smstext import fold, segments
from signalroom.testing.channels import MESSAGE, HandClock

KEY = "0123456789abcdef0123456789abcdef"
CHART = {
    "type": "data_visualization",
    "title": "Trend",
    "chart": {"type": "pie", "segments": [{"label": "a", "value": 1}]},
}


@pytest.fixture
def clock():
    return HandClock()


def send(bench, message=MESSAGE, key=KEY, recipient=""):
    return bench.channel.send(message, recipient or bench.channel.recipients()[0], key)


def find(bench, key=KEY):
    clock = bench.channel.clock
    return bench.channel.find(key, bench.channel.recipients()[0], clock.now() - timedelta(minutes=5))


def test_slack_posts_blocks_with_the_key_and_escaped_text(clock):
    with benches.slack(clock) as bench:
        receipt = send(bench)
        (posted,) = bench.world.messages()
        assert receipt == f"C0REPORTS/{posted.ts}"
        assert posted.text == "Daily CCW &lt;summary&gt; &amp; more"
        assert posted.blocks == [dict(one) for one in MESSAGE.blocks]
        assert posted.metadata == {
            "event_type": EVENT_TYPE,
            "event_payload": {"delivery_key": KEY, "report": "daily_ccw"},
        }


def test_slack_finds_its_message_among_others_and_only_its_own(clock):
    with benches.slack(clock) as bench:  # its history has pages of two
        keys = [f"{number:032x}" for number in range(5)]
        receipts = [send(bench, key=key) for key in keys]
        assert [find(bench, key) for key in keys] == receipts
        assert find(bench, "f" * 32) is None
        bench.world.scopes = frozenset({"chat:write"})
        with pytest.raises(ConfigError, match="missing_scope") as caught:
            find(bench)
        assert "channels:history" in caught.value.mend
        assert "channels:history" in bench.channel.check()[0]


def test_slack_answers_in_a_thread_and_looks_there(clock):
    with benches.slack(clock) as bench:
        root = send(bench, key="a" * 32).partition("/")[2]
        threaded = replace(bench.channel, thread=root)
        assert threaded.recipients() == (f"C0REPORTS/{root}",)
        receipt = threaded.send(MESSAGE, "", KEY)
        assert bench.world.messages()[-1].thread_ts == root
        assert threaded.find(KEY, "", clock.now()) == receipt
        assert find(bench) is None


def test_slack_without_native_tables_gets_the_plain_ones(clock):
    with benches.slack(clock, world={"native": False}) as bench:
        send(bench, replace(MESSAGE, blocks=(*MESSAGE.blocks, CHART)))
        (posted,) = bench.world.messages()
        assert [one["type"] for one in posted.blocks] == ["header", "section", "section"]
        with pytest.raises(DataError, match="unsupported type: wishful"):
            send(bench, replace(MESSAGE, blocks=({"type": "wishful"},)))


def test_slack_shares_pictures_in_the_thread_and_never_posts_twice_for_one(clock):
    with benches.slack(clock, pictures=True) as bench:
        receipt = send(bench)
        message, shared = bench.world.messages()
        assert receipt == f"C0REPORTS/{message.ts}"
        assert shared.thread_ts == message.ts
        assert [bench.world.files[name].body for name in shared.files] == [MESSAGE.images[0].png]
        bench.world.scopes = frozenset({"chat:write", "channels:history"})
        assert "without its pictures (Slack refused files.getUploadURLExternal" in send(bench, key="b" * 32)
        assert len(bench.world.messages()) == 3


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"channel": "C0OTHER"}, ConfigError, "Invite the bot"),
        ({"channel": "C0NOWHERE"}, ConfigError, "channel_not_found"),
        ({"token": benches.secret("xoxb-wrong")}, ConfigError, "invalid_auth"),
    ],
)
def test_slack_says_what_to_mend(clock, change, error, told):
    with benches.slack(clock, **change) as bench:
        with pytest.raises(error, match=told) as caught:
            send(bench)
        assert "xoxb" not in str(caught.value)
        assert told in bench.channel.check()[0]


@pytest.mark.parametrize("fault", [faults.hidden(502), faults.status(500), faults.html_page()])
def test_a_server_error_leaves_it_in_doubt_and_is_not_repeated(clock, fault):
    with benches.slack(clock) as bench:
        bench.upstream.faults.push(fault)
        with pytest.raises(UnknownOutcomeError, match="may or may not have taken POST"):
            send(bench)
        assert len(bench.upstream.calls) == 1
        assert (find(bench) is not None) == (fault.kind == "hidden")


def test_a_silent_server_leaves_it_in_doubt(clock):
    with benches.slack(clock, timeout_s=0.3) as bench:
        bench.upstream.faults.push(faults.late(2.0))
        with pytest.raises(UnknownOutcomeError, match=r"silent for 0\.3 s"):
            send(bench)
        assert len(bench.world.messages()) == 1


def test_nothing_listening_is_no_doubt(clock):
    with benches.slack(clock, base_url="http://127.0.0.1:1/api") as bench, pytest.raises(RetryableError) as caught:
        send(bench)
    assert not isinstance(caught.value, UnknownOutcomeError)


def test_an_address_that_is_a_secret_is_not_shown(clock):
    with benches.slack(clock) as bench:
        hook = Slack(webhook=benches.secret(f"{bench.url}/services/T0/B0/GONE"), clock=clock)
        with pytest.raises(ConfigError, match="404") as caught:
            hook.send(MESSAGE, "webhook", KEY)
        assert "GONE" not in str(caught.value)


def test_a_mail_is_alternative_then_related_and_the_same_bytes_again(clock):
    with benches.smtp(clock, unsubscribe="https://example.com/stop?who={recipient}") as bench:
        receipt = send(bench)
        clock.sleep(3600)
        send(bench)
        (_, first), (_, second) = bench.server.mails
        assert first == second
        mail = bench.server.parsed()
    kinds = [part.get_content_type() for part in mail.walk()]
    assert kinds == ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"]
    text, html, picture = (part for part in mail.walk() if not part.is_multipart())
    assert text.get_content().replace("\r\n", "\n").rstrip("\n") == MESSAGE.text
    assert "cid:trend.png" in html.get_content()
    assert (picture["Content-ID"], picture.get_content()) == ("<trend.png>", MESSAGE.images[0].png)
    assert mail["Message-ID"] == f"<{KEY}@example.com>"
    assert receipt.startswith(f"<{KEY}@example.com>")
    assert mail["Date"].datetime.isoformat() == "2026-11-20T12:00:00+00:00"
    assert mail["List-Unsubscribe"] == "<https://example.com/stop?who=ann%40example.com>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert (mail["To"], mail["From"]) == ("ann@example.com", "Reports <reports@example.com>")


def test_a_refused_reader_is_no_doubt_and_a_busy_one_may_be_served_later(clock):
    with benches.smtp(clock) as bench:
        bench.server.refused = {"ann@example.com": "550 5.1.1 no such user", "bob@example.com": "451 4.2.1 greylisted"}
        with pytest.raises(DataError, match=r"refused the recipient ann@example\.com with 550"):
            send(bench)
        with pytest.raises(RetryableError, match="greylisted") as caught:
            send(bench, recipient="bob@example.com")
        assert not isinstance(caught.value, UnknownOutcomeError)
        assert bench.server.mails == []


def test_a_server_that_cannot_encrypt_gets_nothing(clock):
    with benches.smtp(clock, security="starttls") as bench:
        with pytest.raises(ConfigError, match="no STARTTLS"):
            send(bench)
        assert "no STARTTLS" in bench.channel.check()[0]
        nobody = replace(bench.channel, security="none", smtp=benches.secret("smtp://127.0.0.1:1"))
        with pytest.raises(RetryableError, match="cannot be reached"):
            send(benches.MailBench(nobody, bench.server))
        for address in ("http://mail", "smtp://", "smtp://host:port", "smtp://host/path"):
            told = replace(bench.channel, smtp=benches.secret(address)).check()[0]
            assert "cannot be read" in told
        assert bench.server.mails == []


def test_resend_is_given_the_same_forms_under_the_key(clock):
    with benches.resend(clock, unsubscribe="mailto:stop@example.com") as bench:
        receipt = send(bench)
        (mail,) = bench.world.mails
        assert (mail.id, mail.key) == (receipt, KEY)
        assert mail.fields["headers"]["List-Unsubscribe"] == "<mailto:stop@example.com>"
        assert [one["content_id"] for one in mail.fields["attachments"]] == ["trend.png"]
        with pytest.raises(UnknownOutcomeError, match="invalid_idempotent_request"):
            send(bench, replace(MESSAGE, text="another"))
        since = clock.now()
        assert bench.channel.find(KEY, "", since) is None
        clock.sleep(23.5 * 3600)
        with pytest.raises(NotImplementedError):
            bench.channel.find(KEY, "", since)
        bench.world.sending_only = True
        assert list(bench.channel.check()) == []
        wrong = replace(bench.channel, resend=benches.secret("re_wrong"))
        assert "refused the key" in wrong.check()[0]


def test_a_text_ends_with_its_mark_and_names_its_segments(clock):
    with benches.sms(clock) as bench:
        send(bench)
        (taken,) = bench.world.messages
        assert taken.body.startswith(f"{MESSAGE.sms} #")
        assert len(taken.body) == len(MESSAGE.sms) + 9
        assert bench.channel.preview(MESSAGE).facts[1:] == ("GSM-7, 55 units", "1 of 3 segments")
        assert find(bench) == taken.sid
        assert find(bench, "other") is None
        taken.status, taken.error_code = "undelivered", 30003
        with pytest.raises(DataError, match="lost it: undelivered, error 30003"):
            find(bench)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"to": ("+15005550102",)}, DataError, "21610"),
        ({"from_": "+15005559999"}, ConfigError, "21606"),
        ({"auth_token": benches.secret("wrong")}, ConfigError, "refused the key"),
        ({"max_segments": 1}, DataError, "2 messages long, and 1 are allowed"),
    ],
)
def test_a_text_that_is_refused_says_why(clock, change, error, told):
    with benches.sms(clock, **change) as bench:
        bench.world.opted_out.add("+15005550102")
        with pytest.raises(error, match=told):
            send(bench, replace(MESSAGE, sms="x" * 160))
        assert bench.world.messages == []


def test_a_report_without_an_sms_form_is_refused(clock):
    with benches.sms(clock) as bench, pytest.raises(DataError, match=r"Add daily_ccw\.sms\.j2"):
        send(bench, replace(MESSAGE, sms=""))


def test_a_webhook_is_signed_over_its_time_and_body(clock):
    stamp, body = "1795176000", b'{"a":1}'
    assert signature("whsec", stamp, body) == hmac.new(b"whsec", b'1795176000.{"a":1}', hashlib.sha256).hexdigest()
    with benches.webhook(clock) as bench:
        assert send(bench) == "in-1"
        (taken,) = bench.world.taken
        assert taken["data"] == json.loads(json.dumps(MESSAGE.data))
        assert (taken["key"], taken["load_ids"]) == (KEY, ["l1", "l2"])
        with pytest.raises(ConfigError, match="401"):
            send(benches.HttpBench(replace(bench.channel, secret=benches.secret("other")), None, "", list))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "either token or webhook"),
        ({"token": benches.secret("x"), "webhook": benches.secret("y")}, "either token or webhook"),
        ({"token": benches.secret("x"), "channel": "#general"}, "no id of a channel"),
        ({"token": benches.secret("x"), "channel": "C0REPORTS", "thread": "first"}, "no ts"),
        ({"webhook": benches.secret("x"), "pictures": True}, "neither threads nor pictures"),
    ],
)
def test_slack_settings_that_contradict_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        Slack(**settings)


def test_limits_are_shown_before_anything_is_sent(clock):
    with benches.slack(clock) as bench:
        shown = bench.channel.preview(MESSAGE)
        assert shown.facts[0] == "2 of 50 blocks"
        many = replace(MESSAGE, blocks=({"type": "divider"},) * 51)
        assert "Slack takes 50" in bench.channel.preview(many).problems[0]
    with benches.smtp(clock) as bench:
        assert bench.channel.preview(MESSAGE).problems == ()
        clipped = replace(MESSAGE, html="x" * (CLIPPED_BYTES + 1))
        assert "Gmail would clip" in bench.channel.preview(clipped).problems[0]


@given(st.text(max_size=200))
def test_folding_is_stable_and_never_makes_a_text_dearer(text):
    folded = fold(text)
    assert fold(folded) == folded
    assert "\n" not in folded
    plain = " ".join(text.split())
    assert segments(folded).parts <= segments(plain).parts or segments(folded).encoding == "GSM-7"


@given(st.text(alphabet=st.characters(max_codepoint=0x24F, categories=("L", "Z")), max_size=100))
def test_latin_letters_cost_no_second_alphabet_once_folded(text):
    once = fold(text)
    left = {letter for letter in once if segments(letter).encoding == "UCS-2"}
    assert left <= {letter for letter in text if fold(letter) == letter}


@given(
    st.builds(
        Message, st.just("r"), subject=st.text(max_size=60), text=st.text(max_size=300), html=st.text(max_size=300),
        images=st.lists(st.builds(Image, st.from_regex(r"[a-z]{1,8}\.png", fullmatch=True), st.binary(max_size=99), st.text()), max_size=2).map(tuple),
    )
)  # fmt: skip
def test_any_message_makes_a_mail_that_is_ascii_on_the_wire_and_parses_back(message):
    import email
    import email.policy

    mail = to_email(message, sender="a@x.io", recipient="b@x.io", key=KEY, clock=HandClock())
    raw = mail.as_bytes()
    assert raw.isascii()
    back = email.message_from_bytes(raw, policy=email.policy.default)
    assert back["Message-ID"] == f"<{KEY}@x.io>"
    pictures = [part.get_content() for part in back.walk() if part.get_content_type() == "image/png"]
    assert pictures == ([one.png for one in message.images] if message.html else [])


def test_numbers_need_their_country(clock):
    with pytest.raises(ConfigError, match="country code"):
        Sms(to=("5551234",), account_sid="AC", auth_token=benches.secret("x"), from_="+15005550006")
