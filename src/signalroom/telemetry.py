"""Logs and traces behind one small door, with every secret this process has used taken out on the way."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import logging

MASK: Final = "*****"

_SHORTEST = 4  # a shorter value is in too many ordinary words to be taken out of them
_forms: dict[str, None] = {}
_pattern: re.Pattern[str] | None = None


def conceal(value: str) -> None:
    """Remember a secret: from here on :func:`redact` and every log line leave it out, however it is spelt.

    Args:
        value: The secret. Where it is an address with a password, the password counts on its own too.
    """
    global _pattern  # noqa: PLW0603 - what is secret is a fact about the process
    for secret in (value, _password(value)):
        if len(secret) >= _SHORTEST and secret not in _forms:
            _forms.update(dict.fromkeys(_spellings(secret)))
            _pattern = None


def redact(text: str) -> str:
    """Return ``text`` with every known secret replaced by ``*****``."""
    global _pattern  # noqa: PLW0603 - built once for all the secrets known so far
    if not _forms:
        return text
    if _pattern is None:
        # The longest first: a secret may be a part of another.
        _pattern = re.compile("|".join(re.escape(form) for form in sorted(_forms, key=len, reverse=True)))
    return _pattern.sub(MASK, text)


def configure(level: str, *, json: bool = False) -> None:
    """Send this package's log lines at or above ``level`` to standard error; other packages' from WARNING up.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        json: One JSON object a line, for machines; else one readable line.
    """
    import structlog

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json
        # The default formatter of tracebacks shows local variables, and those hold secrets nobody has registered.
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    _install(formatter, level)


def configure_plainly() -> None:
    """Send warnings to standard error in plain words; spares a command the quarter of a second structlog costs."""
    import logging

    _install(logging.Formatter("%(levelname)s: %(message)s"), "warning")


def _install(formatter: logging.Formatter, level: str) -> None:
    import logging

    class Redacting(logging.Handler):
        """Writes to whatever standard error is at that moment: a progress display may stand in for it."""

        def emit(self, record: logging.LogRecord) -> None:
            # The finished line is redacted: no argument, extra field or traceback escapes.
            sys.stderr.write(redact(self.format(record)) + "\n")

    handler = Redacting()
    handler.set_name("signalroom")
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in [one for one in root.handlers if one.get_name() == handler.get_name()]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("signalroom").setLevel(level.upper())


def trace(environ: Mapping[str, str]) -> None:
    """Send spans to the OpenTelemetry collector that ``OTEL_EXPORTER_OTLP_ENDPOINT`` names; without it do nothing.

    The standard variables apply (headers, protocol ``http/protobuf``, resource attributes, ``OTEL_SERVICE_NAME``).

    Raises:
        ModuleNotFoundError: A collector is named, and the ``[otel]`` extra is not installed.
    """
    if not (environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return
    from opentelemetry import trace as api
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = environ.get("OTEL_SERVICE_NAME", "signalroom")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))  # its own thread; flushed at exit
    api.set_tracer_provider(provider)


@contextmanager
def span(name: str, **attributes: str | float) -> Generator[None]:
    """Yield within a span of the trace under way; costs nothing to speak of where nobody traces.

    Args:
        name: What is done, a few words of low cardinality: ``step``, ``ingest``.
        attributes: What it is done to; secrets are taken out of text.
    """
    try:
        from opentelemetry import trace as api
    except ModuleNotFoundError:
        yield
        return
    shown = {f"signalroom.{key}": redact(one) if isinstance(one, str) else one for key, one in attributes.items()}
    # The library would record the exception as it is: its text and its frames may hold a secret.
    with api.get_tracer("signalroom").start_as_current_span(
        name, attributes=shown, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as problem:
            current.set_status(api.Status(api.StatusCode.ERROR, redact(f"{type(problem).__name__}: {problem}")))
            raise


def _password(value: str) -> str:
    """Return the password of an address, or an empty string."""
    if "://" not in value:
        return ""
    from urllib.parse import unquote, urlsplit

    try:
        return unquote(urlsplit(value).password or "")
    except ValueError:
        return ""


def _spellings(secret: str) -> Iterator[str]:
    """Yield a secret as it is, quoted for an address, escaped in JSON, in hexadecimal and inside base64."""
    import base64
    import json
    from urllib.parse import quote, quote_plus

    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    body = secret.encode()
    yield body.hex()
    yield body.hex().upper()
    for ahead in range(3):
        # Base64 depends on where in its text the secret begins; only letters that it alone decides are sought.
        text = base64.b64encode(b"\0" * ahead + body)
        first, last = (ahead * 8 + 5) // 6, (ahead + len(body)) * 8 // 6
        if last - first >= 2 * _SHORTEST:
            yield text[first:last].decode()
            yield text[first:last].decode().replace("+", "-").replace("/", "_")
