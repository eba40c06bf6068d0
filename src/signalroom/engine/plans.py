"""What workflows are given: plain data, so that a recorded history means the same under later code.

Workflow code imports this module inside its sandbox: it imports nothing of the product but the standard library's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

JOB_ATTRIBUTE = "SignalRoomJob"
"""Search attribute (Keyword): the job, source or report a workflow is about."""


@dataclass
class StepPlan:
    """One step of a workflow.

    Attributes:
        text: The step as typed, e.g. ``sync everflow --window today``.
        attempts: How often it is tried while it may still succeed.
        heartbeat_s: How long it may be silent before another attempt begins.
        timeout_s: How long one attempt may take.
        despite: Numbers (the first is 1) of the steps before it that may have failed; after any other it is left out.
    """

    text: str
    attempts: int = 5
    heartbeat_s: float = 15.0
    timeout_s: float = 21600.0
    despite: list[int] = field(default_factory=list[int])


@dataclass
class JobPlan:
    """One job as a schedule starts it.

    Attributes:
        job: Its name.
        steps: What it does, in order.
        after: Jobs that must have succeeded before it starts.
        then: Jobs without a schedule of their own that start once it has succeeded.
        due_at: The moment it is due, ISO 8601 in UTC; empty takes the schedule's.
        fingerprint: Changes with anything in the job or its schedule.
    """

    job: str
    steps: list[StepPlan]
    after: list[str] = field(default_factory=list[str])
    then: list[JobPlan] = field(default_factory=list["JobPlan"])
    due_at: str = ""
    fingerprint: str = ""


@dataclass
class Gate:
    """What is asked before a job's first step.

    Attributes:
        job: The job.
        after: Jobs that must have succeeded.
        due_at: The moment the job is due, ISO 8601 in UTC.
    """

    job: str
    after: list[str]
    due_at: str


@dataclass
class StepCommand:
    """One step as the worker is told to run it.

    Attributes:
        job: The job it belongs to; empty for none.
        text: The step as typed.
        execution: The execution it belongs to.
        run_id: The id of its run, the same for each attempt.
        due_at: The moment the execution was due, ISO 8601 in UTC.
    """

    job: str
    text: str
    execution: str
    run_id: str
    due_at: str
