"""`signalroom keys`: API keys, shown once when they are made."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from signalroom.cli.command import Command, Group, json_option, with_default
from signalroom.cli.output import ago, note, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.errors import ConfigError, nearest

if TYPE_CHECKING:
    from signalroom.ledger.keys import ApiKey
    from signalroom.room import Room
    from signalroom.view import Agency


class _Keys(Group):
    """Lists when no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_default(args, "list"))


@click.group(cls=_Keys)
def keys() -> None:
    """Make, list and revoke the keys of the API; `signalroom keys` alone lists."""


@keys.command(cls=Command)
@click.option("--agency", metavar="SLUG", default="", help="For one agency: it sees that agency's views, nothing else.")
@click.option("--role", type=click.Choice(("operator", "admin")), default=None, help="For the team: sees every agency.")
@click.option("--name", metavar="TEXT", default="", help="What it is for, for the list.")
@click.option(
    "--expires", metavar="AGE", default="365d", show_default=True, help="From when on it is refused: 12h, 90d, never."
)
@json_option
@pass_session
def create(session: Session, agency: str, role: str | None, name: str, expires: str, as_json: bool) -> None:
    r"""Make a key and show it, this once: only its hash is kept.

    \b
    Examples:
      signalroom keys create --agency harbor --name "Harbor's portal"
      signalroom keys create --role operator --expires 90d
    """
    if bool(agency) == bool(role):
        raise click.UsageError("Name one of --agency and --role.")
    with session.room() as room:
        whose = _agency(room, agency).id if agency else None
        granted = "agency" if role is None else "admin" if role == "admin" else "operator"
        until = _expiry(expires, room.clock.now())
        key, token = room.ledger.keys.create(granted, agency_id=whose, name=name, expires_at=until)
        now = room.clock.now()
    if as_json:
        print_json({**_record(key, now), "key": token})
        return
    click.echo(token)
    held = f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "until it is revoked"
    whose = f"agency {key.agency_slug}" if key.role == "agency" else f"an {key.role}"
    note(f"It is shown this once. It is for {whose}, holds {held}, and its id is {key.key_id}.")


@keys.command("list", cls=Command)
@json_option
@pass_session
def list_keys(session: Session, as_json: bool) -> None:
    """List the keys, the newest first, with when each was last used."""
    with session.room() as room:
        found, now = room.ledger.keys.list(), room.clock.now()
    if as_json:
        print_json({"keys": [_record(one, now) for one in found]})
        return
    if not found:
        click.echo("There are no keys: `signalroom keys create --role operator` makes one.")
        return
    headers = ("id", "for", "state", "expires", "last used", "name")
    print_table(headers, [_row(one, now) for one in found])


@keys.command(cls=Command)
@click.argument("key_id", metavar="ID")
@json_option
@pass_session
def revoke(session: Session, key_id: str, as_json: bool) -> None:
    """Take a key back: from the next request on it is refused."""
    with session.room() as room:
        key, now = room.ledger.keys.revoke(key_id), room.clock.now()
    if as_json:
        print_json(_record(key, now))
    else:
        click.echo(f"Key {key.key_id} is revoked.")


def _agency(room: Room, slug: str) -> Agency:
    """Return an agency by its slug, that of a file not yet brought in too; raises ConfigError where there is none."""
    from signalroom.views.files import read_manifests

    if (written := read_manifests(room.workspace.root)) is not None:
        room.ledger.manifests.bring(written)
    known = {one.slug: one for one in room.ledger.manifests.all().agencies}
    if slug not in known:
        listed = ", ".join(sorted(known)[:10]) or "none yet: `views/` names them"
        raise ConfigError(f"There is no agency {slug!r}.", mend=nearest(slug, known) or f"Known: {listed}.")
    return known[slug]


def _expiry(text: str, now: datetime) -> datetime | None:
    from signalroom.workspace.parts import parse_age

    if text == "never":
        return None
    try:
        return now + parse_age(text)
    except ConfigError:
        raise click.UsageError(f"--expires {text}: write an age such as 12h or 90d, or never.") from None
    except OverflowError:
        raise click.UsageError(f"--expires {text}: that is too far away; write never.") from None


def _whose(key: ApiKey) -> str:
    return f"agency {key.agency_slug or key.agency_id}" if key.role == "agency" else key.role


def _row(key: ApiKey, now: datetime) -> tuple[str, ...]:
    expires = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never"
    used = ago(key.last_used_at, now) if key.last_used_at else "never"
    return key.key_id, _whose(key), key.state(now), expires, used, key.name


def _record(key: ApiKey, now: datetime) -> dict[str, object]:
    return {
        "key_id": key.key_id, "name": key.name, "role": key.role, "agency": key.agency_slug or None,
        "state": key.state(now), "created_at": key.created_at, "expires_at": key.expires_at,
        "last_used_at": key.last_used_at, "revoked_at": key.revoked_at,
    }  # fmt: skip
