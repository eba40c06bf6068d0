"""What a template may use up before it is stopped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on one rendering, enforced on the process that does it.

    Attributes:
        memory_bytes: Address space of that process, the interpreter and its libraries (about 80 MB) included.
        cpu_s: Processor seconds of one rendering, all templates and charts together.
        wall_s: Seconds after which it is stopped on a machine too busy to give it ``cpu_s``.
        output_chars: Characters that one template may write.
    """

    memory_bytes: int = 256 * 1024 * 1024
    cpu_s: float = 5.0
    wall_s: float = 30.0
    output_chars: int = 1_000_000
