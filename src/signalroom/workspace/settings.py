"""How a plugin declares its settings: fields with a doc, a unit and an example, and secrets by reference."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from signalroom.errors import ConfigError
from signalroom.telemetry import conceal

_REQUIRED: Any = dataclasses.MISSING


def setting(doc: str, *, default: Any = _REQUIRED, factory: Any = _REQUIRED, unit: str = "", example: str = "") -> Any:
    """Declare one setting of a plugin.

    Args:
        doc: One sentence for the reference page: what it does and why one would change it.
        default: Value when the workspace file leaves it out; without one (or a factory) it is required.
        factory: Makes the default, for lists and tables.
        unit: ``s``, ``bytes``, ``rows``… where the value has one; also the suffix of the name.
        example: How it is written in ``signalroom.toml``.
    """
    return dataclasses.field(
        default=default, default_factory=factory, metadata={"doc": doc, "unit": unit, "example": example}
    )


def injected(default: Any = _REQUIRED, *, factory: Any = _REQUIRED) -> Any:
    """Declare a field that the workspace fills in, never the file.

    Known names: ``name`` (the plugin's name in the workspace), ``root`` (the workspace folder), ``timezone``
    (the workspace's zone unless the plugin has a setting of its own) and ``clock``.
    """
    return dataclasses.field(default=default, default_factory=factory, metadata={"injected": True})


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is never printed.

    Attributes:
        reference: Where it comes from, e.g. ``env:SLACK_BOT_TOKEN``; this is what ``repr`` shows.
        value: The value itself; None when the variable is not set.
    """

    reference: str
    value: str | None = dataclasses.field(default=None, repr=False, compare=False)

    def reveal(self) -> str:
        """Return the value, which no log shows from here on; raises ConfigError when its variable is not set."""
        if self.value is None:
            variable = self.reference.removeprefix("env:")
            raise ConfigError(
                f"The environment variable {variable} is not set.",
                mend=f"Export {variable} or put it in the workspace's .env file.",
            )
        conceal(self.value)
        return self.value

    def __str__(self) -> str:
        return self.reference
