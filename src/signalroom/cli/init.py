"""`signalroom init`: a workspace from a template."""

from __future__ import annotations

from pathlib import Path

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.output import count, print_json
from signalroom.cli.session import Session, pass_session


@command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=None)
@click.option(
    "--template",
    default="empty",
    show_default=True,
    help="What to start from: affiliates, agencies, empty or fundraising.",
)
@json_option
@pass_session
def init(session: Session, folder: Path | None, template: str, as_json: bool) -> None:
    """Make a workspace in DIR (--workspace, else the current folder, when left out). Nothing is ever overwritten."""
    from signalroom.workspace.init import init as copy_template

    folder = folder or session.workspace or Path()
    files = copy_template(template, folder)
    if as_json:
        print_json({"workspace": str(folder), "template": template, "files": [str(file) for file in files]})
        return
    click.echo(f"Wrote {count(len(files), 'file')} of the {template} template to {folder.absolute()}.")
    step = "" if folder == Path() else f"cd {folder}, "
    click.echo(f"Next: {step}edit signalroom.toml, put secrets in .env, and run `signalroom check`.")
