"""`edgeprune devices`."""

from __future__ import annotations

import click

from edgeprune.cli import options
from edgeprune.cli.output import print_json


@click.command("devices")
@options.json_document
def devices_command(as_json: bool) -> None:
    """List the devices: what each is and the pattern that pays there."""
    from edgeprune.cli import tables
    from edgeprune.profiles.profile import load_profile, profile_names

    profiles = [load_profile(name) for name in profile_names()]
    if as_json:
        print_json([profile.model_dump(mode="json", by_alias=True) for profile in profiles])
    else:
        tables.show_devices(profiles)
