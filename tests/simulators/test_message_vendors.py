"""The vendors' own clients are content with the simulators, and are refused what the vendors refuse."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from signalroom.simulators import ResendApp, SlackApp, TwilioApp, faults, serve_apps

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Seconds:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at

    def now(self):
        return NOW + timedelta(seconds=self.at)


@pytest.fixture
def clock():
    return Seconds()


@pytest.fixture
def slack(clock):
    from slack_sdk import WebClient

    world = SlackApp(clock=clock, now=clock.now, page_rows=2)
    with serve_apps(world.app) as (url,):
        yield world, WebClient(token=world.token, base_url=f"{url}/api/"), url


def refused(call, **fields):
    from slack_sdk.errors import SlackApiError

    with pytest.raises(SlackApiError) as caught:
        call(**fields)
    return caught.value.response["error"]


def test_slack_takes_messages_and_shows_them_with_their_metadata(slack, clock):
    world, client, _ = slack
    assert client.auth_test()["ok"]
    about = {"event_type": "signalroom_delivery", "event_payload": {"delivery_key": "k1"}}
    first = client.chat_postMessage(channel="C0REPORTS", text="one", metadata=about)
    for text in ("two", "three"):
        clock.at += 1.5
        client.chat_postMessage(channel="C0REPORTS", text=text)
    clock.at += 1.5
    client.chat_postMessage(channel="C0REPORTS", text="reply", thread_ts=first["ts"])
    found = [
        one
        for page in client.conversations_history(channel="C0REPORTS", include_all_metadata=True, limit=2)
        for one in page["messages"]
    ]
    assert [one["text"] for one in found] == ["three", "two", "one"]
    assert found[-1]["metadata"] == about
    assert "metadata" not in client.conversations_history(channel="C0REPORTS", oldest="0", limit=1)["messages"][0]
    replies = client.conversations_replies(channel="C0REPORTS", ts=first["ts"])["messages"]
    assert [one["text"] for one in replies] == ["one", "reply"]
    assert len({one.ts for one in world.messages()}) == 4


def test_slack_refuses_with_its_own_words(slack, clock):
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

    world, client, url = slack
    post = client.chat_postMessage
    assert refused(post, channel="C0NOWHERE", text="x") == "channel_not_found"
    assert refused(post, channel="C0OTHER", text="x") == "not_in_channel"
    wrong = [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_001}}]
    for blocks, error in (
        (wrong, "invalid_blocks"),
        ([{"type": "divider"}] * 51, "invalid_blocks"),
        ([{"type": "wishful"}], "invalid_blocks"),
        ([{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 2_900}}] * 5, "msg_blocks_too_long"),
    ):
        clock.at += 1.5
        assert refused(post, channel="C0REPORTS", text="x", blocks=blocks) == error
    clock.at += 1.5
    assert refused(post, channel="C0REPORTS", text="x" * 40_001) == "msg_too_long"
    assert refused(WebClient(token="xoxb-other", base_url=f"{url}/api/").auth_test) == "invalid_auth"
    clock.at += 1.5
    post(channel="C0REPORTS", text="first")
    with pytest.raises(SlackApiError) as crowded:
        post(channel="C0REPORTS", text="second within the second")
    assert (crowded.value.response.status_code, crowded.value.response.headers["retry-after"]) == (429, "1")
    world.scopes = frozenset({"chat:write"})
    assert refused(client.conversations_history, channel="C0REPORTS") == "missing_scope"


def test_slack_takes_a_file_in_three_steps(slack):
    world, client, _ = slack
    client.files_upload_v2(content=b"\x89PNG", filename="trend.png", title="Trend", channel="C0REPORTS")
    (shared,) = world.messages()
    assert [world.files[name].body for name in shared.files] == [b"\x89PNG"]
    assert refused(client.files_completeUploadExternal, files=[{"id": "F404"}]) == "file_not_found"


def test_slack_takes_a_webhook(slack):
    from slack_sdk.webhook import WebhookClient

    world, _, url = slack
    told = WebhookClient(f"{url}/services/T0/B0/hook").send(text="hi")
    assert (told.status_code, told.body) == (200, "ok")
    assert WebhookClient(f"{url}/services/T0/B0/gone").send(text="hi").body == "no_service"
    assert WebhookClient(f"{url}/services/T0/B0/hook").send(blocks=[{"type": "x"}]).body == "invalid_blocks"
    assert [one.text for one in world.messages()] == ["hi"]


@pytest.fixture
def twilio(clock):
    from twilio.http.http_client import TwilioHttpClient
    from twilio.rest import Client

    world = TwilioApp(clock=clock, now=clock.now)
    with serve_apps(world.app) as (url,):

        class Loopback(TwilioHttpClient):
            def request(self, method, uri, *arguments, **options):
                return super().request(method, uri.replace("https://api.twilio.com", url), *arguments, **options)

        http = Loopback()
        yield world, Client(world.account_sid, world.auth_token, http_client=http), http
        http.session.close()


def test_twilio_takes_messages_and_lists_them(twilio, clock):
    world, client, _ = twilio
    sids = []
    for text in ("one #aaaaaaa", "two #bbbbbbb", "three #ccccccc"):
        one = client.messages.create(to="+15005550101", from_="+15005550006", body=text)
        sids.append(one.sid)
        clock.at += 60
    assert (one.status, one.body, one.date_sent) == ("queued", "three #ccccccc", None)
    found = client.messages.list(to="+15005550101", page_size=2)
    assert [one.sid for one in found] == sids[::-1]
    assert found[0].date_created == NOW + timedelta(seconds=120)
    assert client.messages.list(to="+15005550199") == []
    assert client.messages.list(date_sent_after=NOW - timedelta(days=1)) == []  # none has left the queue
    world.messages[0].status = "delivered"
    assert [one.sid for one in client.messages.list(date_sent_after=NOW - timedelta(days=1))] == sids[:1]


def test_twilio_refuses_by_its_codes(twilio):
    from twilio.base.exceptions import TwilioRestException
    from twilio.rest import Client

    world, client, http = twilio
    world.opted_out.add("+15005550102")
    good = {"to": "+15005550101", "from_": "+15005550006", "body": "x"}
    for change, code in (
        ({"to": "5550101"}, 21211),
        ({"to": "+15005550102"}, 21610),
        ({"from_": "+15005559999"}, 21606),
        ({"body": "x" * 1601}, 21617),
        ({"body": ""}, 21602),
    ):
        with pytest.raises(TwilioRestException) as caught:
            client.messages.create(**(good | change))
        assert (caught.value.status, caught.value.code) == (400, code)
    with pytest.raises(TwilioRestException) as caught:
        Client(world.account_sid, "wrong", http_client=http).messages.create(**good)
    assert (caught.value.status, caught.value.code) == (401, 20003)
    world.app.faults.push(faults.status(429))
    with pytest.raises(TwilioRestException):
        client.messages.create(**good)
    assert world.messages == []


@pytest.fixture
def mailer(clock, monkeypatch):
    import resend

    world = ResendApp(clock=clock, now=clock.now)
    with serve_apps(world.app) as (url,):
        monkeypatch.setattr(resend, "api_url", url)
        monkeypatch.setattr(resend, "api_key", world.api_key)
        yield world, resend


MAIL = {"from": "Reports <reports@example.com>", "to": ["ann@example.com"], "subject": "Daily", "html": "<p>x</p>"}


def test_resend_takes_a_mail_once_a_key_and_day(mailer, clock):
    world, client = mailer
    attached = [{"content": base64.b64encode(b"\x89PNG").decode(), "filename": "t.png", "content_id": "t.png"}]
    mail = MAIL | {"attachments": attached}
    first = client.Emails.send(mail, {"idempotency_key": "k1"})
    assert client.Emails.send(mail, {"idempotency_key": "k1"})["id"] == first["id"]
    assert len(world.mails) == 1
    clock.at += 2
    with pytest.raises(client.exceptions.ResendError) as caught:
        client.Emails.send(MAIL, {"idempotency_key": "k1"})
    assert (caught.value.code, caught.value.error_type) == (409, "invalid_idempotent_request")
    clock.at += 24 * 3600
    assert client.Emails.send(mail, {"idempotency_key": "k1"})["id"] != first["id"]
    assert len(world.mails) == 2


def test_resend_refuses_with_its_own_words(mailer, clock, monkeypatch):
    world, client = mailer
    world.suppressed.add("gone@example.com")
    for change, code in (
        ({"from": "a@elsewhere.org"}, 403),
        ({"to": ["gone@example.com"]}, 422),
        ({"to": ["nobody"]}, 422),
        ({"subject": ""}, 422),
        ({"surprise": 1}, 422),
        ({"attachments": [{"filename": "x", "content": "no base64!"}]}, 422),
    ):
        clock.at += 2
        with pytest.raises(client.exceptions.ResendError) as caught:
            client.Emails.send(MAIL | change)
        assert caught.value.code == code, change
    clock.at += 2
    client.Emails.send(MAIL)
    client.Emails.send(MAIL)
    with pytest.raises(client.exceptions.ResendError) as caught:
        client.Emails.send(MAIL)
    assert caught.value.error_type == "rate_limit_exceeded"
    clock.at += 2
    monkeypatch.setattr(client, "api_key", "re_other")
    with pytest.raises(client.exceptions.ResendError) as caught:
        client.Emails.send(MAIL)
    assert (caught.value.code, caught.value.error_type) == (403, "invalid_api_key")
    assert len(world.mails) == 2
