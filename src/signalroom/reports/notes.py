"""Sentences that a reader must see: a template that does not show them gets them all the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, SupportsIndex

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

_BODY: Final = re.compile(r"<mj-body\b[^>]*>")
_SLACK: Final = "{% for note in notes %}:warning: {{ note }}\n{% endfor %}\n"
_EMAIL: Final = (
    "<mj-section><mj-column>"
    "{% for note in notes %}<mj-text>&#9888; {{ note }}</mj-text>{% endfor %}"
    "</mj-column></mj-section>"
)
_TEXT: Final = "{% for note in notes %}! {{ note }}\n{% endfor %}\n"
_SMS: Final = " Data late."


class Notes(list[str]):
    """The sentences, as a template has them; remembers whether it read any."""

    def __init__(self, notes: Iterable[str]) -> None:
        super().__init__(notes)
        self.read = False

    def __iter__(self) -> Iterator[str]:
        """Yield them."""
        self.read = True
        return super().__iter__()

    def __getitem__(self, place: SupportsIndex | slice) -> str | list[str]:  # pyright: ignore[reportIncompatibleMethodOverride] - one signature for list's two
        """Return one, or some."""
        self.read = True
        return super().__getitem__(place)


def with_notes(form: str, text: str, notes: Notes, environment: ImmutableSandboxedEnvironment) -> str:
    """Return what a template wrote, with the notes at its beginning where it left them out.

    Args:
        form: ``slack``, ``email``, ``text``, ``sms`` or ``subject``; a text message says only that data are late.
        text: What the template wrote.
        notes: As they were handed to it.
        environment: Escapes as the form does.
    """
    if notes.read or not len(notes):
        return text
    sentences = {"notes": list(notes)}
    match form:
        case "slack":
            return environment.from_string(_SLACK).render(sentences) + text
        case "email":
            section = environment.from_string(_EMAIL).render(sentences)
            return _BODY.sub(lambda body: body[0] + section, text, count=1)
        case "text":
            return environment.from_string(_TEXT).render(sentences) + text
        case "sms":
            return text.rstrip() + _SMS
        case _:
            return text
