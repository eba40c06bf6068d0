"""Fixtures that every test may use."""

import sys
from pathlib import Path

# Tests are imported by path (importlib mode): what they share is found here.
sys.path.insert(0, str(Path(__file__).parent))

from postgres_server import postgres, postgres_server

__all__ = ["postgres", "postgres_server"]
