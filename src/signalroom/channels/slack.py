"""Slack: a bot that posts into a channel or a thread, or an incoming webhook."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from signalroom.blocktext import MAX_BLOCKS, MAX_CHARACTERS, MAX_TEXT, as_text, check_blocks, classic, weight
from signalroom.clients.http import HttpClient, Timeouts
from signalroom.clients.rate import RateLimit
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, DataError, RetryableError, SignalRoomError, UnknownOutcomeError
from signalroom.message import Image, Message, Preview
from signalroom.position import Json
from signalroom.workspace.settings import Secret, injected, setting

_log = logging.getLogger("signalroom.slack")

EVENT_TYPE: Final = "signalroom_delivery"
"""Metadata type of every message; its payload holds the delivery key, by which a message is found again."""

_CHANNEL: Final = re.compile(r"[CGD][A-Z0-9]{4,}")
_THREAD: Final = re.compile(r"\d{10}\.\d{6}")
_MARGIN: Final = timedelta(hours=1)
_PAGE_ROWS: Final = 200
_MAX_PAGES: Final = 100
_NATIVE: Final = frozenset({"data_table", "data_visualization"})
# Slack says of these that something may have been done before it failed.
_DOUBTFUL: Final = frozenset({"fatal_error", "internal_error", "request_timeout"})
_PASSING: Final = frozenset({"ratelimited", "rate_limited", "service_unavailable", "message_limit_exceeded"})
_OF_THE_MESSAGE: Final = frozenset(
    {
        "invalid_blocks", "invalid_blocks_format", "msg_too_long", "msg_blocks_too_long", "no_text",
        "invalid_metadata_format", "invalid_metadata_schema", "metadata_too_large", "markdown_text_conflict",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slack:
    """Posts the Slack form of a report, with its native tables and charts."""

    token: Secret | None = setting(
        "Token of a bot with the scopes chat:write and channels:history (groups:history in a private channel), and "
        "files:write for pictures.",
        default=None,
        example='token = "env:SLACK_BOT_TOKEN"',
    )
    channel: str = setting(
        "Id of the channel the bot posts to; it must have been invited.",
        default="",
        example='channel = "env:SLACK_CHANNEL_ID"',
    )
    thread: str = setting(
        "Post under this message of the channel, named by its ts.", default="", example='thread = "1795273200.000100"'
    )
    pictures: bool = setting("Also put the charts, as pictures, into the message's thread.", default=False)
    webhook: Secret | None = setting(
        "An incoming webhook instead of a bot. It cannot be asked what arrived: a message in doubt stays `unknown`.",
        default=None,
        example='webhook = "env:SLACK_WEBHOOK_URL"',
    )
    base_url: str = setting(
        "Address of the API; change it for a proxy or a test.",
        default="https://slack.com/api",
        example='base_url = "https://slack.com/api"',
    )
    timeout_s: float = setting("How long Slack may be silent.", default=30.0, unit="s")
    clock: Clock = injected(factory=SystemClock)
    # Slack lets about one message a second into a channel.
    _rate: RateLimit = field(default_factory=lambda: RateLimit(1, 1.0), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a channel that names no way, or two."""
        if (self.token is None) == (self.webhook is None):
            raise ConfigError("it needs either token or webhook.", mend='Write token = "env:SLACK_BOT_TOKEN".')
        if self.token is not None and not _CHANNEL.fullmatch(self.channel):
            raise ConfigError(
                "channel is no id of a channel.",
                mend="Copy it from the end of the channel's details; it begins with C.",
            )
        if self.thread and not _THREAD.fullmatch(self.thread):
            raise ConfigError("thread is no ts of a message.", mend="Write it as 1795273200.000100.")
        if self.webhook is not None and (self.thread or self.pictures or self.channel):
            raise ConfigError(
                "a webhook has its own channel, and neither threads nor pictures.", mend="Use a token, or remove them."
            )

    def recipients(self) -> Sequence[str]:
        """Return the channel, with the thread where one is named; ``webhook`` for a webhook."""
        return ("webhook" if self.webhook is not None else "/".join(filter(None, (self.channel, self.thread))),)

    def send(self, message: Message, recipient: str, key: str) -> str:  # noqa: ARG002 - there is one
        """Post the message and return ``channel/ts``; ``ok`` from a webhook.

        Raises:
            RetryableError: Nothing was posted.
            ConfigError: The token, its scopes or the channel must be mended.
            DataError: Slack refuses the message.
            UnknownOutcomeError: It may have been posted.
        """
        blocks = list(message.blocks)
        if blocks:
            check_blocks(blocks, f"The Slack form of report {message.report}")
        try:
            return self._post(message, blocks, key)
        except _BlocksRefusedError:
            # A workspace without native tables and charts refused the whole message: nothing was posted.
            return self._post(message, classic(blocks), key)

    def find(self, key: str, recipient: str, since: datetime) -> str | None:  # noqa: ARG002 - there is one
        """Return ``channel/ts`` of the message whose metadata hold ``key``, or None.

        Raises:
            NotImplementedError: A webhook cannot be asked.
            RetryableError: Slack could not be asked, or the channel is too busy to look through.
            ConfigError: The bot may not read the channel.
        """
        if self.webhook is not None:
            raise NotImplementedError
        with self._client() as client:
            for one in self._history(client, since - _MARGIN):
                about = _mapping(one.get("metadata"))
                if about.get("event_type") != EVENT_TYPE:
                    continue
                if _mapping(about.get("event_payload")).get("delivery_key") == key:
                    return f"{self.channel}/{one['ts']}"
        return None

    def check(self) -> Sequence[str]:
        """Return what is wrong with the token, the channel or the right to read it; posts nothing."""
        try:
            if self.webhook is not None:
                self.webhook.reveal()
                return []
            with self._client() as client:
                self._ask(client, "auth.test", {})
                next(iter(self._history(client, self.clock.now(), rows=1)), None)
        except SignalRoomError as problem:
            return [str(problem)]
        return []

    def preview(self, message: Message) -> Preview:
        """Return the message as text, and what it measures against Slack's limits."""
        if not message.blocks:
            return Preview(message.text, ("text without blocks",))
        blocks = message.blocks
        longest = max(len(str(_mapping(one.get("text")).get("text", ""))) for one in blocks)
        facts = (
            f"{len(blocks)} of {MAX_BLOCKS} blocks",
            f"{longest:,} of {MAX_TEXT:,} characters in the longest",
            f"{weight(blocks):,} of {MAX_CHARACTERS:,} characters in all",
        )
        problems: list[str] = []
        try:
            check_blocks(blocks, "The message")
        except DataError as problem:
            problems.append(str(problem))
        if longest > MAX_TEXT:
            problems.append(f"A block has {longest:,} characters: Slack takes {MAX_TEXT:,}, split it.")
        return Preview(as_text(blocks).rstrip("\n"), facts, tuple(problems))

    def _post(self, message: Message, blocks: Sequence[Mapping[str, Json]], key: str) -> str:
        body: dict[str, Json] = {"text": _escape(message.subject if blocks else message.text)}
        if blocks:
            body["blocks"] = list(blocks)
        if self.webhook is not None:
            return self._hook(self.webhook, body)
        payload: dict[str, Json] = {"delivery_key": key, "report": message.report}
        body |= {
            "channel": self.channel,
            "metadata": {"event_type": EVENT_TYPE, "event_payload": payload},
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if self.thread:
            body["thread_ts"] = self.thread
        with self._client() as client:
            answer = client.post("/chat.postMessage", json=body, effect="once")
            told = _judged(_mapping(answer.document), "chat.postMessage", blocks)
            ts = str(told.get("ts"))
            receipt = f"{self.channel}/{ts}"
            if self.pictures and message.images:
                receipt += self._add_pictures(client, message.images, self.thread or ts)
        return receipt

    def _hook(self, webhook: Secret, body: Mapping[str, Json]) -> str:
        with self._wire(webhook, None) as client:
            answer = client.post("", json=body, effect="once", answers=(400,), expect_json=False)
        told = answer.body.decode("utf-8", "replace").strip()[:100]
        if answer.status == 400:
            # Slack names the mistake as plain text here.
            _judged({"ok": False, "error": told}, "the webhook", body.get("blocks"))
        return told

    def _add_pictures(self, client: HttpClient, images: Sequence[Image], thread: str) -> str:
        """Share pictures in a thread; return what to add to the receipt.

        The message is posted already, so a picture that cannot follow is told and never makes it fail: it would be
        posted twice.
        """
        try:
            files = [{"id": self._upload(client, one), "title": one.alt[:100] or one.name} for one in images]
            listed: list[Json] = [dict(one) for one in files]
            body: dict[str, Json] = {"files": listed, "channel_id": self.channel, "thread_ts": thread}
            answer = client.post("/files.completeUploadExternal", json=body, effect="once")
            _judged(_mapping(answer.document), "files.completeUploadExternal")
        except SignalRoomError as problem:
            _log.warning("the pictures of %s/%s did not follow: %s", self.channel, thread, problem)
            return f" without its pictures ({problem.message})"
        return ""

    def _upload(self, client: HttpClient, image: Image) -> str:
        """Bring the bytes of a picture to Slack and return their file's id; nobody sees it until it is shared."""
        form = {"filename": image.name, "length": str(len(image.png)), "alt_txt": image.alt[:1000]}
        answer = client.post("/files.getUploadURLExternal", form=form)
        told = _judged(_mapping(answer.document), "files.getUploadURLExternal")
        with self._wire(str(told.get("upload_url")), None) as uploading:  # good for this one upload
            uploading.post("", content=image.png, expect_json=False)
        return str(told.get("file_id"))

    def _history(self, client: HttpClient, since: datetime, rows: int = _PAGE_ROWS) -> Iterator[Mapping[str, Any]]:
        """Yield the messages of the channel, or of the thread, since a moment."""
        method = "conversations.replies" if self.thread else "conversations.history"
        params = {"channel": self.channel, "limit": str(rows), "include_all_metadata": "true"}
        params["oldest"] = f"{since.timestamp():.6f}"
        if self.thread:
            params["ts"] = self.thread
        for _ in range(_MAX_PAGES):
            told = self._ask(client, method, params)
            yield from told.get("messages", [])
            cursor = _mapping(told.get("response_metadata")).get("next_cursor")
            if not cursor:
                return
            params = {**params, "cursor": str(cursor)}
        raise RetryableError(
            f"The Slack channel {self.channel} has over {_MAX_PAGES * _PAGE_ROWS} messages since {since:%Y-%m-%d}.",
            mend="Look whether the report is there, and settle the delivery by hand.",
        )

    def _ask(self, client: HttpClient, method: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        return _judged(_mapping(client.get(f"/{method}", params=params).document), method)

    def _client(self) -> HttpClient:
        return self._wire(self.base_url, self.token)

    def _wire(self, address: str | Secret, token: Secret | None) -> HttpClient:
        return HttpClient(
            vendor="Slack",
            base_url=address,
            token=token,
            rate=self._rate,
            clock=self.clock,
            timeouts=Timeouts(read_s=self.timeout_s, deadline_s=120.0),
        )


class _BlocksRefusedError(Exception):
    """Slack refused a message for blocks that have a plainer form."""


def _judged(told: Mapping[str, Any], what: str, blocks: Any = ()) -> Mapping[str, Any]:
    """Return an answer that says ``ok``; raises what any other means."""
    if told.get("ok") is True:
        return told
    code = str(told.get("error") or "an answer without ok")[:100]
    native = any(_mapping(one).get("type") in _NATIVE for one in blocks or ())
    if code in {"invalid_blocks", "invalid_blocks_format"} and native:
        raise _BlocksRefusedError(code)
    listed = _mapping(told.get("response_metadata")).get("messages")
    details: list[Any] = listed if isinstance(listed, list) else []
    more = f": {'; '.join(str(one) for one in details)[:300]}" if details else ""
    if code in _DOUBTFUL or "error" not in told:
        raise UnknownOutcomeError(
            f"Slack answered {what} with {code}{more}: it may or may not have done it.", mend="Look into the channel."
        )
    sentence = f"Slack refused {what} with {code}{more}."
    if code in _PASSING:
        raise RetryableError(sentence, mend="Nothing was posted; try again later.")
    if code in _OF_THE_MESSAGE:
        raise DataError(sentence, mend="Shorten the report's Slack template, or mend the block it names.")
    mends = {
        "missing_scope": f"Give the bot the scope {told.get('needed', '')} and install it again.",
        "not_in_channel": "Invite the bot to the channel.",
        "channel_not_found": "Mend the channel's id, or invite the bot to it.",
    }
    raise ConfigError(sentence, mend=mends.get(code, "Mend the token or the channel."))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mapping(document: Any) -> Mapping[str, Any]:
    return document if isinstance(document, dict) else {}
