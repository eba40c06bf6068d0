"""Strict simulators of the upstreams: the world the demo and the tests run against.

A `World` is a small seeded business. `serve` lets its affiliate network and its ad tracker answer over HTTP
as their documentation says, with everything that goes wrong in real life; `write_exports` writes its CRM's
daily files. `World.truth_daily` knows the right numbers. `SlackApp`, `TwilioApp` and `ResendApp` take messages, and
know what they took. Nothing here imports the product.
"""

from __future__ import annotations

from signalroom.simulators.everflow import EverflowOptions
from signalroom.simulators.exports import Exported, write_exports
from signalroom.simulators.redtrack import RedtrackOptions
from signalroom.simulators.resend import ResendApp
from signalroom.simulators.server import Upstreams, serve, serve_apps
from signalroom.simulators.slack import SlackApp
from signalroom.simulators.twilio import TwilioApp
from signalroom.simulators.world import World

__all__ = [
    "EverflowOptions",
    "Exported",
    "RedtrackOptions",
    "ResendApp",
    "SlackApp",
    "TwilioApp",
    "Upstreams",
    "World",
    "serve",
    "serve_apps",
    "write_exports",
]
