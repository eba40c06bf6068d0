"""A message as an e-mail: text and HTML as alternatives, the charts related to the HTML by content id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from typing import Final
from urllib.parse import quote

from signalroom.clock import Clock
from signalroom.message import Message

CLIPPED_BYTES: Final = 102 * 1024
"""Gmail shows this much of a message's HTML and hides the rest behind a link."""


def to_email(
    message: Message, *, sender: str, recipient: str, key: str, clock: Clock, headers: Mapping[str, str] | None = None
) -> EmailMessage:
    """Return a message as an e-mail; the same key gives the same bytes, so that a resend is the same mail.

    Args:
        message: What is said; its HTML refers to pictures as ``cid:NAME``.
        sender: The From address.
        recipient: The To address.
        key: The delivery key; the Message-ID and the boundaries are made of it.
        clock: Gives the Date header of a message that does not say when it was rendered.
        headers: Further headers.
    """
    from email.policy import SMTP
    from email.utils import format_datetime, parseaddr

    # Plain ASCII on the wire: not every server takes 8-bit mail, and one that does not breaks it silently.
    mail = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    mail["Subject"] = " ".join(message.subject.split())
    mail["From"] = sender
    mail["To"] = recipient
    mail["Date"] = format_datetime(_rendered_at(message) or clock.now())
    mail["Message-ID"] = f"<{key}@{parseaddr(sender)[1].rpartition('@')[2] or 'localhost'}>"
    for name, value in (headers or {}).items():
        mail[name] = value
    mail.set_content(message.text)
    if message.html:
        mail.add_alternative(message.html, subtype="html")
        body = [part for part in mail.iter_parts() if isinstance(part, EmailMessage)][-1]
        for image in message.images:
            body.add_related(
                image.png, "image", "png", cid=f"<{image.name}>", filename=image.name, disposition="inline"
            )
    for at, part in enumerate(part for part in mail.walk() if part.is_multipart()):
        part.set_boundary(f"=_{key}_{at}")
    return mail


def unsubscribe_headers(address: str, recipient: str) -> dict[str, str]:
    """Return the headers by which a mail program offers to unsubscribe; none where ``address`` is empty.

    Args:
        address: ``https://…`` or ``mailto:…``; ``{recipient}`` in it stands for the reader's address.
        recipient: The reader.
    """
    if not address:
        return {}
    headers = {"List-Unsubscribe": f"<{address.replace('{recipient}', quote(recipient, safe=''))}>"}
    if address.startswith("https://"):
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return headers


def _rendered_at(message: Message) -> datetime | None:
    about = message.data.get("_report")
    told = about.get("as_of") if isinstance(about, Mapping) else None
    try:
        moment = datetime.fromisoformat(told) if isinstance(told, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo else None
