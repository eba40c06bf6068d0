"""One message to one recipient, once: claimed in the ledger, asked after where in doubt, settled by what is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from signalroom.channels.base import Channel
from signalroom.errors import ConfigError, DataError, RetryableError, UnknownOutcomeError
from signalroom.failpoints import failpoint
from signalroom.message import Delivery, delivery_key

if TYPE_CHECKING:
    from signalroom.ledger.ledger import Ledger

ASK_AFTER_S = 60.0
"""How long a message that may be on its way is given to arrive before the channel is asked for it."""
_PATIENCE_S = 10.0  # most sends end sooner; who comes second then knows, and need not wait for a whole lease


def send_once(ledger: Ledger, channel: Channel, planned: Delivery) -> Delivery:
    """Send an archived message to one recipient unless somebody did, and return the delivery as it is then.

    Where a sender died or was left in doubt, the channel is asked first; what is sent then is what that sender sent.

    Args:
        ledger: Where deliveries are claimed and messages archived.
        channel: Sends it.
        planned: The delivery, with the digest of its message.

    Raises:
        RetryableError: Another process has it, nothing was accepted, or (UnknownOutcomeError) something may have been.
        DataError: It was refused for good; or nobody but a person can find out whether it arrived.
        ConfigError: A person must edit something.
    """
    return _deliver(ledger, channel, planned, insisting=False)


def send_again(ledger: Ledger, channel: Channel, known: Delivery) -> Delivery:
    """Send the message of a delivery again because a person asks for it, byte for byte as it was.

    One that may have arrived is first asked after where the channel can tell. One that did arrive is sent under a
    key of its own, so that the repetition is delivered once too. Raises as :func:`send_once` does.
    """
    if not known.digest:
        raise ConfigError(
            f"The delivery {known.key} was never rendered.", mend=f"Run `signalroom report {known.report} --send`."
        )
    planned = _repetition(ledger, known) if known.state == "sent" else known
    return _deliver(ledger, channel, planned, insisting=True)


def _deliver(ledger: Ledger, channel: Channel, planned: Delivery, *, insisting: bool) -> Delivery:
    claimed = ledger.deliveries.claim(planned, patience_s=_PATIENCE_S)
    if claimed is None:
        known = ledger.deliveries.get(planned.key)
        if known is not None and known.state == "sent":
            return known
        # Somebody is at it, or died at it: only its lease tells, and to go on now would be to call it sent.
        unsure = known is not None and known.state == "unknown"
        why = "it may be arriving" if unsure else "another process has it"
        raise RetryableError(
            f"Report {planned.report} is on its way to {planned.recipient}: {why}.",
            mend="Run the step again: once its time has passed, the channel is asked what arrived.",
            retry_after_s=ledger.deliveries.free_in_s(planned.key),
        )
    failpoint("steps.deliver.claimed")
    receipt = _find(ledger, channel, claimed, insisting=insisting) if claimed.state == "unknown" else None
    return ledger.deliveries.settle(claimed, "sent", receipt=receipt or _send(ledger, channel, claimed))


def _find(ledger: Ledger, channel: Channel, claimed: Delivery, *, insisting: bool) -> str | None:
    """Return the receipt of what an earlier sender got through; where nobody can tell, only a person goes on."""
    try:
        # Nothing can have been sent before the ledger knew of it.
        return channel.find(claimed.key, claimed.recipient, claimed.created_at or claimed.due_at)
    except NotImplementedError:
        if insisting:
            return None
        told = claimed.error or "Its sender died while it was sending."
        ledger.deliveries.settle(claimed, "unknown", error=told)
        raise DataError(
            f"Whether report {claimed.report} reached {claimed.recipient} is unknown, and {claimed.channel} cannot be "
            "asked.",
            mend=f"Find out, then run `signalroom deliveries settle {claimed.key} sent`, or "
            f"`signalroom deliveries resend {claimed.key}`.",
        ) from None
    except DataError as refused:
        ledger.deliveries.settle(claimed, "failed", error=str(refused))
        raise
    except (RetryableError, ConfigError) as problem:
        ledger.deliveries.settle(claimed, "unknown", error=str(problem))
        raise


def _send(ledger: Ledger, channel: Channel, claimed: Delivery) -> str:
    """Send and return the receipt; what a failure says of the message is recorded before it goes on up."""
    archived = ledger.archive.get(claimed.digest)
    if archived is None:
        ledger.deliveries.settle(claimed, "failed", error="Its message is not in the archive.")
        raise DataError(
            f"The message of the delivery {claimed.key} is not in the archive.", mend="Let the report be sent anew."
        )
    try:
        receipt = channel.send(archived.message, claimed.recipient, claimed.key)
    except UnknownOutcomeError as doubt:
        wait_s = ASK_AFTER_S if doubt.retry_after_s is None else doubt.retry_after_s
        ledger.deliveries.settle(claimed, "unknown", error=str(doubt), ask_in_s=wait_s)
        # A second more: until then, its last moment included, nobody may claim it.
        raise UnknownOutcomeError(doubt.message, mend=doubt.mend, retry_after_s=wait_s + 1) from doubt
    except (DataError, RetryableError, ConfigError) as refused:
        ledger.deliveries.settle(claimed, "failed", error=str(refused))
        raise
    failpoint("steps.deliver.sent")
    return receipt


def _repetition(ledger: Ledger, sent: Delivery) -> Delivery:
    """Return the first repetition of a delivery that has not been sent itself."""
    again = 1
    while True:
        key = delivery_key(sent.report, sent.due_at, sent.channel, sent.recipient, again=again)
        found = ledger.deliveries.get(key)
        if found is None or found.state != "sent":
            return replace(sent, key=key, state="pending", receipt="", error="")
        again += 1
