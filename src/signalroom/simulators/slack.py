"""Slack's Web API and incoming webhooks, as strict as its documentation: refusals are `ok: false` with status 200."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from signalroom.simulators.limits import Clock, SlidingWindow
from signalroom.simulators.slack_blocks import MAX_CHARACTERS, block_errors, characters
from signalroom.simulators.upstream import Call, RefusedError, Reply, Upstream, error_reply, form_of, json_reply

_POST_FIELDS = frozenset(
    {
        "channel", "text", "blocks", "attachments", "metadata", "thread_ts", "reply_broadcast", "unfurl_links",
        "mrkdwn", "unfurl_media", "parse", "link_names", "username", "icon_emoji", "icon_url", "as_user",
        "markdown_text",
    }
)  # fmt: skip
_MAX_TEXT = 40_000


@dataclass(slots=True)
class SlackMessage:
    """One message as the channel has it; `files` are ids."""

    ts: str
    text: str
    blocks: list[dict[str, Any]]
    metadata: dict[str, Any] | None
    thread_ts: str | None
    files: tuple[str, ...] = ()


@dataclass(slots=True)
class _File:
    """A file on its way: asked for, uploaded, shared."""

    name: str
    length: int
    body: bytes | None = None
    shared: bool = False


@dataclass
class SlackApp:
    """A Slack workspace with one bot.

    Attributes:
        token: The bot's token.
        scopes: What the bot may do.
        channels: Id of each channel -> whether the bot is in it.
        hook_channel: Where the webhook `/services/T0/B0/hook` posts.
        native: Whether native tables and charts are known.
        per_second: Messages a second into one channel.
        page_rows: Most rows on a page of a history.
        clock: Seconds, for the limit.
        now: The moment, for each message's ts.
    """

    token: str = "xoxb-simulated"  # noqa: S105 - of a simulator
    scopes: frozenset[str] = frozenset({"chat:write", "channels:history", "files:write"})
    channels: dict[str, bool] = field(default_factory=lambda: {"C0REPORTS": True, "C0OTHER": False})
    hook_channel: str = "C0REPORTS"
    native: bool = True
    per_second: int = 1
    page_rows: int = 100
    clock: Clock = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        """Begin with empty channels."""
        self.app = Upstream("slack", self._answer)
        self.files: dict[str, _File] = {}
        self._messages: dict[str, list[SlackMessage]] = {name: [] for name in self.channels}
        self._limits = {name: SlidingWindow(self.per_second, 1.0, self.clock) for name in self.channels}
        self._last_us = 0

    def messages(self, channel: str = "C0REPORTS") -> list[SlackMessage]:
        """Return what stands in a channel and its threads, the oldest first."""
        return list(self._messages[channel])

    def _answer(self, call: Call) -> Reply:
        if call.path.startswith("/services/"):
            return self._hook(call)
        if call.path.startswith("/upload/v1/"):
            return self._upload(call)
        methods: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "auth.test": lambda _: {"ok": True, "user_id": "U0BOT", "team_id": "T0"},
            "chat.postMessage": self._post,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "files.getUploadURLExternal": lambda fields: self._upload_url(fields, call.headers.get("host", "")),
            "files.completeUploadExternal": self._complete,
        }
        method = methods.get(call.path.removeprefix("/api/").strip("/"))
        if method is None:
            return json_reply({"ok": False, "error": "unknown_method"})
        authorization = call.headers.get("authorization", "")
        if not authorization.startswith("Bearer "):
            return _no("not_authed")
        if authorization != f"Bearer {self.token}":
            return _no("invalid_auth")
        try:
            told = method(_fields(call))
        except _NoError as no:
            return no.reply
        except RefusedError as refused:
            return _no("invalid_arguments", [f"[ERROR] {refused}"])
        return json_reply(told)

    def _post(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._may("chat:write")
        if unknown := fields.keys() - _POST_FIELDS:
            raise RefusedError(f"unknown argument {min(unknown)}")
        channel = self._channel(fields)
        allowance = self._limits[channel].take()
        if not allowance.allowed:
            wait = {"Retry-After": str(allowance.retry_after_s)}
            raise _NoError(json_reply({"ok": False, "error": "ratelimited"}, 429, wait))
        metadata = fields.get("metadata")
        if metadata is not None:
            good = isinstance(metadata, dict) and isinstance(metadata.get("event_type"), str)
            if not good or not isinstance(metadata.get("event_payload"), dict):
                raise _NoError(_no("invalid_metadata_format"))
        thread = fields.get("thread_ts")
        if thread is not None and not any(one.ts == thread for one in self._messages[channel]):
            raise _NoError(_no("thread_not_found"))
        one = self._add(channel, self._text(fields), fields.get("blocks") or [], metadata, thread)
        return {"ok": True, "channel": channel, "ts": one.ts, "message": _shown(one, metadata=True)}

    def _text(self, fields: dict[str, Any]) -> str:
        """Return the text of a message whose blocks are sound."""
        text, blocks = fields.get("text") or "", fields.get("blocks")
        if not text and not blocks:
            raise _NoError(_no("no_text"))
        if len(text) > _MAX_TEXT:
            raise _NoError(_no("msg_too_long"))
        if blocks:
            if wrong := block_errors(blocks, native=self.native):
                raise _NoError(_no("invalid_blocks", wrong))
            if characters(blocks) > MAX_CHARACTERS:
                raise _NoError(_no("msg_blocks_too_long"))
        return text

    def _add(
        self, channel: str, text: str, blocks: list[dict[str, Any]], metadata: Any, thread: str | None,
        files: tuple[str, ...] = (),
    ) -> SlackMessage:  # fmt: skip
        # Two messages never share a ts.
        self._last_us = max(self._last_us + 1, round(self.now().timestamp() * 1_000_000))
        ts = f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"
        one = SlackMessage(ts, text, blocks, metadata, thread, files)
        self._messages[channel].append(one)
        return one

    def _history(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._may("channels:history")
        channel = self._channel(fields)
        return self._page(fields, [one for one in reversed(self._messages[channel]) if one.thread_ts is None])

    def _replies(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._may("channels:history")
        root = fields.get("ts")
        found = [one for one in self._messages[self._channel(fields)] if root in (one.ts, one.thread_ts)]
        if not found:
            raise _NoError(_no("thread_not_found"))
        return self._page(fields, found)

    def _page(self, fields: dict[str, Any], found: list[SlackMessage]) -> dict[str, Any]:
        limit = int(fields.get("limit") or 100)
        if not 1 <= limit <= 999:
            raise _NoError(_no("invalid_limit"))
        oldest = float(fields.get("oldest") or 0)
        wanted = [one for one in found if float(one.ts) > oldest]
        start = int(fields.get("cursor") or 0)
        end = start + min(limit, self.page_rows)
        metadata = str(fields.get("include_all_metadata", "")).lower() in ("true", "1")
        more = end < len(wanted)
        told: dict[str, Any] = {
            "ok": True,
            "messages": [_shown(one, metadata=metadata) for one in wanted[start:end]],
            "has_more": more,
        }
        return told | ({"response_metadata": {"next_cursor": str(end)}} if more else {})

    def _upload_url(self, fields: dict[str, Any], host: str) -> dict[str, Any]:
        self._may("files:write")
        if not fields.get("filename") or int(fields.get("length") or 0) < 1:
            raise RefusedError("filename and length are required")
        name = f"F{len(self.files):08d}"
        self.files[name] = _File(str(fields["filename"]), int(fields["length"]))
        return {"ok": True, "upload_url": f"http://{host}/upload/v1/{name}", "file_id": name}

    def _upload(self, call: Call) -> Reply:
        one = self.files.get(call.path.rpartition("/")[2])
        if one is None or call.method != "POST" or len(call.body) != one.length:
            return Reply(400, b"the upload is not what was announced", "text/plain")
        one.body = call.body
        return Reply(200, f"OK - {one.length}".encode(), "text/plain")

    def _complete(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._may("files:write")
        listed = fields.get("files")
        named = json.loads(listed) if isinstance(listed, str) else listed
        if not isinstance(named, list) or not named:
            raise RefusedError("files is required")
        ids = tuple(str(one.get("id")) for one in named)
        if any(name not in self.files or self.files[name].body is None for name in ids):
            raise _NoError(_no("file_not_found"))
        for name in ids:
            self.files[name].shared = True
        if fields.get("channel_id"):
            channel = self._channel({"channel": fields["channel_id"]})
            self._add(channel, str(fields.get("initial_comment") or ""), [], None, fields.get("thread_ts"), ids)
        return {"ok": True, "files": [{"id": name, "title": self.files[name].name} for name in ids]}

    def _hook(self, call: Call) -> Reply:
        if call.path != "/services/T0/B0/hook":
            return Reply(404, b"no_service", "text/plain")
        try:
            fields = json.loads(call.body)
            text = self._text(fields)
        except ValueError:
            return Reply(400, b"invalid_payload", "text/plain")
        except _NoError as no:
            return Reply(400, json.loads(no.reply.body)["error"].encode(), "text/plain")
        if not fields.keys() <= {"text", "blocks", "attachments", "unfurl_links", "unfurl_media"}:
            return Reply(400, b"invalid_payload", "text/plain")
        if not (allowance := self._limits[self.hook_channel].take()).allowed:
            return error_reply(429, "rate_limited", {"Retry-After": str(allowance.retry_after_s)})
        self._add(self.hook_channel, text, fields.get("blocks") or [], None, None)
        return Reply(200, b"ok", "text/plain")

    def _may(self, scope: str) -> None:
        if scope not in self.scopes:
            told = {"ok": False, "error": "missing_scope", "needed": scope, "provided": ",".join(sorted(self.scopes))}
            raise _NoError(json_reply(told))

    def _channel(self, fields: Mapping[str, Any]) -> str:
        channel = str(fields.get("channel", ""))
        if channel not in self.channels:
            raise _NoError(_no("channel_not_found"))
        if not self.channels[channel]:
            raise _NoError(_no("not_in_channel"))
        return channel


class _NoError(Exception):
    """The answer to a request that is refused."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body)
        self.reply = reply


def _no(error: str, messages: list[str] | None = None) -> Reply:
    return json_reply(
        {"ok": False, "error": error} | ({"response_metadata": {"messages": messages}} if messages else {})
    )


def _fields(call: Call) -> dict[str, Any]:
    fields: dict[str, Any] = dict(call.query)
    if call.body and "json" in call.headers.get("content-type", ""):
        return fields | json.loads(call.body)
    return fields | (form_of(call) if call.body else {})


def _shown(one: SlackMessage, *, metadata: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "message", "ts": one.ts, "text": one.text, "blocks": one.blocks, "bot_id": "B0BOT"}
    if one.thread_ts:
        told["thread_ts"] = one.thread_ts
    return told | ({"metadata": one.metadata} if metadata and one.metadata else {})
