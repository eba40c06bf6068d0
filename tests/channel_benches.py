"""Channels with their upstreams behind them, for the contract and for what each channel is tested on its own."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import json
import socket

from aiosmtpd.controller import Controller

from signalroom.channels.email import Email
from signalroom.channels.file import FileChannel
from signalroom.channels.slack import Slack
from signalroom.channels.sms import Sms
from signalroom.channels.webhook import Webhook, signature
from signalroom.errors import RetryableError
from signalroom.simulators import ResendApp, SlackApp, TwilioApp, faults, serve_apps
from signalroom.simulators.upstream import Upstream, error_reply, json_reply
from signalroom.workspace.settings import Secret

WAIT_S = 10.0  # nothing waits for it: a lost answer is a cut connection
READERS = ("ann@example.com", "bob@example.com", "cy@example.com")
PHONES = ("+15005550101", "+15005550102")


def secret(value, name="CHANNEL_SECRET"):
    return Secret(f"env:{name}", value)


class HttpBench:
    """A channel of an HTTP upstream; ``arrivals`` returns the recipient of each message."""

    def __init__(self, channel, upstream, path, arrivals, *, askable=True):
        self.channel, self.askable = channel, askable
        self.upstream, self.path, self.arrivals = upstream, path, arrivals

    def arrived(self, recipient=""):
        return len([to for to in self.arrivals() if recipient in ("", to)])

    def be_busy(self):
        # As often as the client asks: it gives up, and then the way is free.
        self.upstream.faults.push(faults.status(429, 45), path=self.path, times=3)

    def lose_the_answer(self):
        self.upstream.faults.push(faults.half_body(), path=self.path)

    def lose_the_message(self):
        self.upstream.faults.push(faults.cut(), path=self.path)


@contextlib.contextmanager
def slack(clock, **settings):
    world = SlackApp(clock=clock.monotonic, now=clock.now, page_rows=2, **settings.pop("world", {}))
    with serve_apps(world.app) as (url,):
        given = {"token": secret(world.token), "channel": "C0REPORTS", "base_url": f"{url}/api"}
        channel = Slack(**(given | {"timeout_s": WAIT_S, "clock": clock} | settings))
        (recipient,) = channel.recipients()
        bench = HttpBench(channel, world.app, "chat.postMessage", lambda: [recipient for _ in world.messages()])
        bench.world, bench.url = world, url
        yield bench


@contextlib.contextmanager
def slack_webhook(clock, *, timeout_s=WAIT_S):
    world = SlackApp(clock=clock.monotonic, now=clock.now)
    with serve_apps(world.app) as (url,):
        hook = secret(f"{url}/services/T0/B0/hook")
        channel = Slack(webhook=hook, timeout_s=timeout_s, clock=clock)
        yield HttpBench(channel, world.app, "/hook", lambda: ["webhook" for _ in world.messages()], askable=False)


@contextlib.contextmanager
def sms(clock, **settings):
    world = TwilioApp(clock=clock.monotonic, now=clock.now)
    with serve_apps(world.app) as (url,):
        given = {"to": PHONES, "account_sid": world.account_sid, "auth_token": secret(world.auth_token)}
        given |= {"from_": "+15005550006", "base_url": url, "timeout_s": WAIT_S, "clock": clock}
        channel = Sms(**(given | settings))
        bench = HttpBench(
            channel, world.app, "Messages.json", lambda: [one.to for one in world.messages],
            askable=settings.get("tag", True),
        )  # fmt: skip
        bench.world, bench.url = world, url
        yield bench


def sms_without_tag(clock):
    return sms(clock, tag=False)


@contextlib.contextmanager
def resend(clock, **settings):
    world = ResendApp(clock=clock.monotonic, now=clock.now)
    with serve_apps(world.app) as (url,):
        given = {"from_": "Reports <reports@example.com>", "to": READERS, "resend": secret(world.api_key)}
        channel = Email(**(given | {"resend_url": url, "timeout_s": WAIT_S, "clock": clock} | settings))
        bench = HttpBench(channel, world.app, "/emails", lambda: [one.fields["to"][0] for one in world.mails])
        bench.world, bench.url = world, url
        yield bench


class Receiver:
    """A team's own server: it checks the signature as the documentation says, and may know keys."""

    def __init__(self, *, knows_keys):
        self.app, self.taken, self._knows_keys = Upstream("receiver", self.answer), [], knows_keys

    def answer(self, call):
        stamp, given = call.headers["x-signalroom-timestamp"], call.headers["x-signalroom-signature"]
        if given != f"v1={signature('whsec', stamp, call.body)}" or call.path != "/in":
            return error_reply(401, "wrong signature")
        document = json.loads(call.body)
        assert document["key"] == call.headers["x-signalroom-delivery"]
        if self._knows_keys and any(one["key"] == document["key"] for one in self.taken):
            return error_reply(409, "known")
        self.taken.append(document)
        return json_reply({"id": f"in-{len(self.taken)}"}, 202)


@contextlib.contextmanager
def webhook(clock, *, deduplicates=False, timeout_s=WAIT_S):
    world = Receiver(knows_keys=deduplicates)
    with serve_apps(world.app) as (url,):
        channel = Webhook(
            url=secret(f"{url}/in"), secret=secret("whsec"), deduplicates=deduplicates, timeout_s=timeout_s, clock=clock
        )
        bench = HttpBench(channel, world.app, "/in", lambda: ["webhook" for _ in world.taken], askable=deduplicates)
        bench.world = world
        yield bench


def webhook_that_knows_keys(clock):
    return webhook(clock, deduplicates=True)


class MailServer:
    """A real mail server's protocol, with what goes wrong next."""

    def __init__(self):
        self.mails, self.next_data, self.refused, self.recipients_asked = [], "", {}, []
        self.signed_in = []  # as whom each mail came

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - the library's name
        self.recipients_asked.append(address)
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - the library's name
        fault, self.next_data = self.next_data, ""
        if fault == "busy":
            return "451 4.3.0 try later"
        if fault != "lose the message":
            self.mails.append((envelope.rcpt_tos[0], envelope.content))
            self.signed_in.append(session.auth_data)
        if fault == "be silent":
            await asyncio.Event().wait()
        if fault:
            server.transport.abort()
        return "250 2.0.0 queued"

    def parsed(self, at=0):
        return email.message_from_bytes(self.mails[at][1], policy=email.policy.default)


class MailBench:
    askable = False

    def __init__(self, channel, server):
        self.channel, self.server = channel, server

    def arrived(self, recipient=""):
        return len([to for to, _ in self.server.mails if recipient in ("", to)])

    def be_busy(self):
        self.server.next_data = "busy"

    def lose_the_answer(self):
        self.server.next_data = "lose the answer"

    def lose_the_message(self):
        self.server.next_data = "lose the message"


@contextlib.contextmanager
def smtp(clock, *, scheme="smtp", host="127.0.0.1", login="", server_settings=None, **settings):
    server = MailServer()
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]  # the library cannot be asked which port it was given
    controller = Controller(server, hostname="127.0.0.1", port=port, **(server_settings or {}))
    controller.start()
    try:
        given = {"from_": "Reports <reports@example.com>", "to": READERS, "security": "none", "timeout_s": 5.0}
        channel = Email(**(given | {"smtp": secret(f"{scheme}://{login}{host}:{port}"), "clock": clock} | settings))
        yield MailBench(channel, server)
    finally:
        controller.stop()


class FileBench:
    askable = True

    def __init__(self, channel):
        self.channel, self._real = channel, channel.send

    def arrived(self, recipient=""):
        return len(list(self.channel.folder.glob("daily_ccw/*/*")))

    def be_busy(self):
        self._staged("busy")

    def lose_the_answer(self):
        self._staged("lose the answer")

    def lose_the_message(self):
        self._staged("lose the message")

    def _staged(self, fault):
        self.channel = StagedFile(self.channel, fault, self)


class StagedFile:
    """The file channel, whose disk fails once."""

    def __init__(self, channel, fault, bench):
        self._channel, self._fault, self._bench = channel, fault, bench

    def __getattr__(self, name):
        return getattr(self._channel, name)

    def send(self, message, recipient, key):
        from signalroom.errors import UnknownOutcomeError

        self._bench.channel = self._channel
        if self._fault == "busy":
            raise RetryableError("The disk is full.")
        if self._fault == "lose the answer":
            self._channel.send(message, recipient, key)
        raise UnknownOutcomeError("The disk went away.")


@contextlib.contextmanager
def file(clock, root):
    yield FileBench(FileChannel(root=root, clock=clock))
