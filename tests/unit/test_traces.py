"""Spans: what a collector receives, and that nothing is needed where nobody traces."""

import http.server
import sys
import threading

import pytest

from signalroom import telemetry
from signalroom.cli.session import start_traces
from signalroom.errors import ConfigError


class Collector(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    received: list[tuple[str, bytes]]

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def collector():
    kept = type("Kept", (Collector,), {"received": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kept)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", kept.received
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def provider(monkeypatch):
    """OpenTelemetry keeps one provider for a process's life; tests put theirs aside again."""
    from opentelemetry import trace
    from opentelemetry.util._once import Once

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    return trace


def test_a_collector_receives_spans_with_their_parents_and_no_secret(collector, provider, monkeypatch):
    address, received = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    telemetry.conceal("canary-of-the-trace")
    telemetry.trace({"OTEL_EXPORTER_OTLP_ENDPOINT": address})
    with telemetry.span("step", step="sync crm", rows=3), telemetry.span("ingest", stream="crm.orders"):
        pass
    with pytest.raises(ValueError, match="canary"), telemetry.span("load", url="https://x/?key=canary-of-the-trace"):
        raise ValueError("the key canary-of-the-trace was refused")
    provider.get_tracer_provider().shutdown()
    assert {path for path, _ in received} == {"/v1/traces"}
    body = b"".join(body for _, body in received)
    for said in (
        b"signalroom",
        b"sync crm",
        b"crm.orders",
        b"ingest",
        b"ValueError: the key ***** was refused",
        b"key=*****",
    ):
        assert said in body
    assert b"canary" not in body


def test_without_a_collector_nothing_is_set_up(provider):
    telemetry.trace({})
    assert provider._TRACER_PROVIDER is None
    with telemetry.span("step", step="sync crm"):
        pass


def test_without_the_library_spans_cost_nothing_and_a_collector_is_refused(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with telemetry.span("step", step="sync crm"):
        pass

    with pytest.raises(ConfigError, match=r"signalroom\[otel\]"):
        start_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
