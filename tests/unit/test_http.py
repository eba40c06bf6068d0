"""The HTTP client against an upstream of a few lines; nobody sleeps."""

import gzip
import logging
import traceback
from decimal import Decimal

import httpx
import pytest

from signalroom.clients import http
from signalroom.clients.http import HttpClient, Timeouts, full_jitter
from signalroom.clients.rate import RateLimit
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.workspace.settings import Secret
from upstream_laws import WaitingClock

KEY = "k+e/y-S3CRET"
OK = httpx.Response(200, json={"a": 1})


@pytest.fixture
def clock():
    return WaitingClock()


def most(seconds):
    return seconds


def answering(*answers):
    """Return a handler that gives each answer in turn, the last one for ever, and the requests it saw."""
    seen = []

    def handle(request):
        request.read()
        seen.append(request)
        answer = answers[min(len(seen), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else httpx.Response(
            answer.status_code, headers=answer.headers, content=answer.content
        )  # fmt: skip

    return handle, seen


def client(clock, handle, **settings):
    given = {
        "vendor": "Acme",
        "base_url": "https://api.acme.test/v2/",
        "headers": {"X-Key": Secret("env:ACME_KEY", KEY)},
        "transport": httpx.MockTransport(handle),
        "clock": clock,
        "jitter": most,
    }
    return HttpClient(**(given | settings))


def ask(clock, *answers, path="/things", method="GET", request=None, **settings):
    handle, seen = answering(*answers)
    with client(clock, handle, **settings) as upstream:
        return upstream.request(method, path, **(request or {})), seen


def fail(clock, error, *answers, **settings):
    handle, seen = answering(*answers)
    asked = settings.pop("request", {})
    with client(clock, handle, **settings) as upstream, pytest.raises(error) as caught:
        upstream.get("/things", **asked)
    said = str(caught.value) + "".join(traceback.format_exception(caught.value))
    assert KEY not in said
    assert "\n" not in caught.value.message
    return caught.value, seen


def test_an_answer_has_the_exact_bytes_and_what_they_mean(clock):
    body = b' {"cost": 0.10,\n "n": 1} '

    def handle(request):
        clock.advance(1.5)
        return httpx.Response(201, content=body)

    answer, (request,) = ask(clock, handle, request={"params": {"b": "2", "a": "ä b"}})
    assert (answer.status, answer.body, answer.elapsed_s) == (201, body, 1.5)
    assert answer.document == {"cost": Decimal("0.10"), "n": 1}
    assert str(answer.document["cost"]) == "0.10"
    assert request.url == "https://api.acme.test/v2/things?b=2&a=%C3%A4+b"
    assert request.headers["X-Key"] == KEY
    assert answer.request == {"method": "GET", "path": "/v2/things", "params": {"a": "ä b", "b": "2"}}


def test_a_body_is_sent_as_json(clock):
    answer, (request,) = ask(clock, OK, method="POST", request={"json": {"from": "2026-11-20", "x": [1, "ä"]}})
    assert request.content == '{"from":"2026-11-20","x":[1,"ä"]}'.encode()
    assert request.headers["Content-Type"] == "application/json"
    assert answer.request["json"] == {"from": "2026-11-20", "x": [1, "ä"]}
    with client(clock, answering(OK)[0]) as upstream:
        assert upstream.post("/things", json={}).request["method"] == "POST"


def test_compressed_answers_are_decompressed(clock):
    packed = httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=gzip.compress(b"[1]"))
    handle, _ = answering(lambda _request: httpx.Response(200, headers=packed.headers, stream=packed.stream))
    with client(clock, handle) as upstream:
        assert upstream.get("/things").body == b"[1]"


def test_other_things_than_json_when_they_are_expected(clock):
    answer, _ = ask(clock, httpx.Response(200, text="<html>ok"), request={"expect_json": False})
    assert (answer.body, answer.document) == (b"<html>ok", None)


def test_the_fingerprint_is_that_of_the_question_without_its_secrets(clock):
    def fingerprint(value=KEY, path="/things", **request):
        secret = {"api_key": Secret("env:ACME_KEY", value)}
        answer, _ = ask(clock, OK, path=path, request=request, headers={}, params=secret)
        return answer.fingerprint

    one = fingerprint(params={"a": "1", "b": "2"})
    assert one == fingerprint("another", params={"b": "2", "a": "1"})
    assert one.startswith("GET /v2/things ")
    assert len(one.rpartition(" ")[2]) == 64
    others = [
        fingerprint(params={"a": "1", "b": "3"}), fingerprint(json={"a": "1", "b": "2"}), fingerprint(),
        fingerprint(path="/other", params={"a": "1", "b": "2"}),
    ]  # fmt: skip
    assert len({one, *others}) == 5


def test_a_secret_in_the_query_is_sent_and_never_shown(clock, caplog):
    caplog.set_level(logging.DEBUG)
    secret = {"api_key": Secret("env:ACME_KEY", KEY)}
    asked = {"params": {"a": "1"}}
    answer, (_, request) = ask(clock, httpx.Response(500), OK, headers={}, params=secret, request=asked)
    assert dict(request.url.params) == {"api_key": KEY, "a": "1"}
    assert answer.request["params"] == {"a": "1"}
    assert KEY not in caplog.text
    assert "k%2Be%2Fy-S3CRET" not in caplog.text
    assert [record.message for record in caplog.records if record.name == "signalroom.http"] == [
        "Acme GET /v2/things?a=1: 500 in 0.000 s, 0 bytes",
        "Acme GET /v2/things: it answered 500 (attempt 1 of 5)",
        "Acme GET /v2/things?a=1: 200 in 0.000 s, 7 bytes",
    ]
    assert not [record for record in caplog.records if record.name == "httpx"]
    # Other users of the library keep its log.
    with httpx.Client(transport=httpx.MockTransport(answering(OK)[0])) as theirs:
        theirs.get("http://other.test")
    assert [record for record in caplog.records if record.name == "httpx"]


def test_waits_double_under_full_jitter_and_attempts_are_bounded(clock):
    error, seen = fail(clock, RetryableError, httpx.Response(503, json={"error": "down"}))
    assert len(seen) == 5
    assert clock.waits == [1, 2, 4, 8]
    assert error.message == "Acme did not answer GET /v2/things in 5 attempts: it answered 503 (down)."
    assert error.mend
    assert error.retry_after_s is None
    assert all(0 <= full_jitter(3) <= 3 for _ in range(100))
    assert len({full_jitter(3) for _ in range(10)}) > 1


def test_a_crowded_upstream_that_does_not_say_when_is_left_alone_longer(clock):
    fail(clock, RetryableError, httpx.Response(429))
    assert clock.waits == [5, 10, 20, 40]


def test_one_attempt_is_one_attempt(clock):
    error, seen = fail(clock, RetryableError, httpx.Response(500), request={"attempts": 1})
    assert len(seen) == 1
    assert "in 1 attempt:" in error.message
    assert clock.waits == []


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_statuses_that_pass(clock, status):
    answer, seen = ask(clock, httpx.Response(status), OK)
    assert (answer.document, len(seen)) == ({"a": 1}, 2)


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (
            httpx.ConnectError("[Errno 111] Connection refused"),
            "the connection failed ([Errno 111] Connection refused)",
        ),
        (httpx.ReadError(""), "the connection failed (ReadError)"),
        (httpx.RemoteProtocolError("cut"), "the connection failed (cut)"),
        (httpx.ConnectTimeout("x"), "no connection within 10 s"),
        (httpx.ReadTimeout("x"), "silent for 60 s"),
        (httpx.PoolTimeout("x"), "silent for 60 s"),
        (httpx.DecodingError(f"bad gzip {KEY}"), "the connection failed (bad gzip ***)"),
    ],
)
def test_broken_connections_are_tried_again(clock, problem, told):
    assert ask(clock, problem, OK)[0].document == {"a": 1}
    error, seen = fail(clock, RetryableError, problem)
    assert len(seen) == 5
    assert told in error.message


@pytest.mark.parametrize("body", [b"", b"<html><body>Sign in", b'[{"a": 1}, {"a'])
def test_what_is_no_json_is_asked_for_again(clock, body):
    error, seen = fail(clock, RetryableError, httpx.Response(200, content=body))
    assert len(seen) == 5
    assert "it answered 200 with " in error.message
    assert ask(clock, httpx.Response(200, content=body), OK)[0].document == {"a": 1}


def test_retry_after_is_kept_and_jitter_comes_on_top(clock):
    ask(clock, httpx.Response(429, headers={"Retry-After": "7"}), OK)
    assert clock.waits == [8]
    ask(clock, httpx.Response(503, headers={"Retry-After": "soon"}), OK)
    assert clock.waits == [8, 1]


def test_an_upstream_that_wants_an_hour_is_left_alone_at_once(clock):
    error, seen = fail(clock, RetryableError, httpx.Response(429, headers={"Retry-After": "3600"}))
    assert (len(seen), clock.waits) == (1, [])
    assert error.retry_after_s == 3600
    assert "3600 s" in error.mend


def test_the_deadline_covers_attempts_and_waits(clock):
    def slow(_request):
        clock.advance(40)
        return httpx.Response(500)

    _, seen = fail(clock, RetryableError, slow, timeouts=Timeouts(deadline_s=100))
    assert len(seen) == 3
    assert clock.seconds <= 123


def test_an_answer_that_drips_is_cut_off(clock):
    class Drip(httpx.SyncByteStream):
        def __iter__(self):
            while True:
                clock.advance(1)
                yield b" "

    error, seen = fail(clock, RetryableError, lambda _request: httpx.Response(200, stream=Drip()))
    assert "still not done after 56 s and 56 bytes" in error.message
    assert len(seen) == 3
    assert clock.seconds <= 301


def test_timeouts_shrink_to_what_is_left(clock):
    seen = []

    def handle(request):
        seen.append(request.extensions["timeout"])
        clock.advance(70)
        return httpx.Response(500)

    fail(clock, RetryableError, handle, timeouts=Timeouts(read_s=60, deadline_s=100))
    assert [timeout["read"] for timeout in seen] == [60, 29]
    assert [timeout["connect"] for timeout in seen] == [10, 10]


def test_an_answer_may_be_too_large(clock):
    read = []

    class Endless(httpx.SyncByteStream):
        def __iter__(self):
            while True:
                read.append(1000)
                yield b" " * 1000

    error, seen = fail(clock, DataError, lambda _request: httpx.Response(200, stream=Endless()), max_bytes=5000)
    assert "more than 5,000 bytes" in error.message
    assert (len(seen), len(read)) == (1, 6)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_for_a_person(clock, status):
    error, seen = fail(clock, ConfigError, httpx.Response(status, json={"error": f"no {KEY} here"}))
    assert error.message == f"Acme refused the key for GET /v2/things with {status} (no *** here)."
    assert error.mend == "Put a key that may read this into ACME_KEY."
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("status", "error", "mend"),
    [
        (400, ConfigError, "settings"),
        (404, ConfigError, "base_url"),
        (405, ConfigError, "base_url"),
        (413, DataError, "what was asked"),
        (422, DataError, "what was asked"),
        (304, ConfigError, "settings"),
    ],
)
def test_refusals_are_told_in_the_vendors_words(clock, status, error, mend):
    caught, seen = fail(clock, error, httpx.Response(status, json={"message": "per: at most 1000"}))
    assert f"{status} (per: at most 1000)" in caught.message
    assert mend in caught.mend
    assert len(seen) == 1


def test_the_vendors_words_are_short_and_without_our_secrets(clock):
    for body, told in [
        (b"", "400."),
        (b"x" * 1000, "400 (" + "x" * 199 + "…)."),
        (b"see k%2Be%2Fy-S3CRET", "400 (see ***)."),
    ]:
        error, _ = fail(clock, ConfigError, httpx.Response(400, content=body))
        assert error.message.endswith(f"with {told}")


def redirect(to, status=302):
    return httpx.Response(status, headers={"Location": to})


def test_redirects_are_followed_on_the_same_host_only(clock):
    answer, seen = ask(clock, redirect("/v3/things?x=1"), OK)
    assert answer.document == {"a": 1}
    assert str(seen[1].url) == "https://api.acme.test/v3/things?x=1"
    for elsewhere in ("https://evil.test/", "http://api.acme.test/", "https://api.acme.test:444/", "//evil.test"):
        error, seen = fail(clock, ConfigError, redirect(elsewhere))
        assert "which is not followed" in error.message
        assert len(seen) == 1
    error, _ = fail(clock, RetryableError, redirect("https://x.test:port/"))
    assert "Invalid URL in location header" in error.message


def test_redirects_end(clock):
    error, seen = fail(clock, ConfigError, redirect("/again"))
    assert "without end" in error.message
    assert len(seen) == 5


def test_a_post_is_redirected_only_as_a_post(clock):
    _, seen = ask(clock, redirect("/there", 307), OK, method="POST", request={"json": {"a": 1}})
    assert (seen[1].method, seen[1].content) == ("POST", b'{"a":1}')
    with pytest.raises(ConfigError, match="not followed"):
        ask(clock, redirect("/there", 302), OK, method="POST", request={"json": {"a": 1}})


@pytest.mark.parametrize("value", ["", "line\n", "two words", "k\u00e9y"])
def test_a_secret_no_header_can_carry_is_told_without_it(clock, value):
    upstream = client(clock, answering(OK)[0], headers={"X-Key": Secret("env:ACME_KEY", value)})
    with pytest.raises(ConfigError, match="ACME_KEY is empty or holds blanks") as caught, upstream:
        pass
    assert not value or value not in str(caught.value)


def test_a_secret_that_is_not_set_names_its_variable(clock):
    with pytest.raises(ConfigError, match="ACME_KEY is not set"), \
            client(clock, answering(OK)[0], params={"k": Secret("env:ACME_KEY")}):  # fmt: skip
        pass


def test_a_plain_header_no_request_can_carry_is_told_without_it(clock):
    error, _ = fail(clock, ConfigError, httpx.LocalProtocolError(f"Illegal header value {KEY}"))
    assert "cannot be sent in a request header" in error.message


@pytest.mark.parametrize(
    "address", ["", "api.acme.test", "ftp://api.acme.test", "https://", "https://x.test?a=1", "http://x:y", "h://u:p@x"]
)
def test_what_is_no_address(clock, address):
    with pytest.raises(ConfigError, match="is no address") as caught, \
            client(clock, answering(OK)[0], base_url=address):  # fmt: skip
        pass
    assert "u:p" not in str(caught.value)


def test_a_client_that_is_not_open_says_so(clock):
    with pytest.raises(RuntimeError, match="not open"):
        client(clock, answering(OK)[0]).get("/things")


def test_the_borders_are_failpoints(clock, monkeypatch):
    hit = []
    monkeypatch.setattr(http, "failpoint", hit.append)
    ask(clock, httpx.Response(500), OK)
    assert hit == ["http.request", "http.response"] * 2


def test_a_rate_limit_waits_its_turn_between_attempts_too(clock):
    rate = RateLimit(2, 60)
    handle, seen = answering(httpx.Response(500), httpx.Response(500), OK)
    with client(clock, handle, rate=rate) as upstream:
        upstream.get("/things")
    assert len(seen) == 3
    assert clock.seconds == pytest.approx(60, abs=0.1)
