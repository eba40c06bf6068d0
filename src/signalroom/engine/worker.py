"""A worker: it takes a workspace's steps from a Temporal server, whichever that is."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from signalroom import __version__
from signalroom.engine.activities import Activities
from signalroom.engine.workflows import WORKFLOWS

if TYPE_CHECKING:
    from signalroom.room import Room

_STICKY = timedelta(seconds=2)  # the default of ten is how long a run would stand still after its worker was killed


def task_queue(room: Room) -> str:
    """Return the queue of a workspace's steps: ``TEMPORAL_TASK_QUEUE``, else one named after the workspace."""
    return room.workspace.environ.get("TEMPORAL_TASK_QUEUE") or f"signalroom-{room.workspace.name}"


def _unexpected(record: logging.LogRecord) -> bool:
    """Return whether the library tells of a failure that the activity has not told in one line already."""
    return not (record.exc_info and isinstance(record.exc_info[1], ApplicationError))


def make_worker(client: Client, room: Room) -> Worker:
    """Return a worker for a workspace; it has not started yet."""
    logging.getLogger("temporalio.activity").addFilter(_unexpected)
    steps = room.workspace.engine.concurrency
    return Worker(
        client,
        task_queue=task_queue(room),
        build_id=f"signalroom-{__version__}",  # left out, it is a hash of every module: a third of the time to start
        workflows=WORKFLOWS,
        activities=Activities(room).all(),
        activity_executor=ThreadPoolExecutor(steps + 1, thread_name_prefix="step"),
        max_concurrent_activities=steps,
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_modules("signalroom")
        ),
        sticky_queue_schedule_to_start_timeout=_STICKY,
        graceful_shutdown_timeout=timedelta(seconds=room.workspace.engine.stop_grace_s),
    )
