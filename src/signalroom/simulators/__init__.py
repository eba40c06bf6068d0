"""Strict simulators of the upstreams: the world the demo and the tests run against.

A `World` is a small seeded business. `serve` lets its affiliate network and its ad tracker answer over HTTP
as their documentation says, with everything that goes wrong in real life; `write_exports` writes its CRM's
daily files. `World.truth_daily` knows the right numbers. Nothing here imports the product.
"""

from __future__ import annotations

from signalroom.simulators.everflow import EverflowOptions
from signalroom.simulators.exports import Exported, write_exports
from signalroom.simulators.redtrack import RedtrackOptions
from signalroom.simulators.server import Upstreams, serve
from signalroom.simulators.world import World

__all__ = ["EverflowOptions", "Exported", "RedtrackOptions", "Upstreams", "World", "serve", "write_exports"]
