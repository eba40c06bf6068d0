"""A worker: it takes a workspace's steps from a Temporal server, whichever that is."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from signalroom import __version__
from signalroom.engine.activities import Activities
from signalroom.engine.plans import JOB_ATTRIBUTE
from signalroom.engine.workflows import WORKFLOWS
from signalroom.errors import ConfigError, RetryableError

if TYPE_CHECKING:
    from signalroom.clock import Clock
    from signalroom.room import Room

GRACE_S = 20.0
"""How long a step that runs may go on after the worker was told to stop."""

# Names that deployments use, beside Temporal's own.
_ALIASES = {
    "TEMPORAL_TLS_CERT_PATH": "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_KEY_PATH": "TEMPORAL_TLS_CLIENT_KEY_PATH",
}
_STICKY = timedelta(seconds=2)  # the default of ten is how long a run would stand still after its worker was killed
_ASK_AGAIN_S = 0.1


async def connect(environ: Mapping[str, str], address: str = "") -> Client:
    """Return a client of the server that ``TEMPORAL_*`` names, or of the one at ``address``.

    Raises:
        ConfigError: The settings contradict one another, a file of them is missing, or the server refuses us.
        RetryableError: The server does not answer.
    """
    named = {name: value for name, value in environ.items() if name.startswith("TEMPORAL_")}
    named |= {_ALIASES[name]: value for name, value in named.items() if name in _ALIASES}
    if address:
        named = {"TEMPORAL_ADDRESS": address}
    try:
        profile = ClientConfigProfile.load(disable_file=True, disable_env=not named, override_env_vars=named)
        return await Client.connect(**profile.to_client_connect_config())
    except RPCError as problem:
        if problem.status in {RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED}:
            raise ConfigError(
                f"The Temporal server refuses us: {problem.message}.", mend="Check TEMPORAL_API_KEY or the certificate."
            ) from problem
        raise _silent(named, problem) from problem
    except (ValueError, OSError) as problem:
        raise ConfigError(f"TEMPORAL_*: {problem}.", mend="Correct the variable or the file it names.") from problem
    except RuntimeError as problem:  # what the client raises for a connection that failed
        raise _silent(named, problem) from problem


async def connect_soon(environ: Mapping[str, str], address: str, clock: Clock, within_s: float) -> Client:
    """Return a client of a server that has just been started; raises RetryableError when it does not come up."""
    import asyncio

    deadline = clock.monotonic() + within_s
    while True:
        try:
            return await connect(environ, address)
        except RetryableError:
            if clock.monotonic() > deadline:
                raise
            await asyncio.sleep(_ASK_AGAIN_S)


def task_queue(room: Room) -> str:
    """Return the queue of a workspace's steps: ``TEMPORAL_TASK_QUEUE``, else one named after the workspace."""
    return room.workspace.environ.get("TEMPORAL_TASK_QUEUE") or f"signalroom-{room.workspace.name}"


def make_worker(client: Client, room: Room) -> Worker:
    """Return a worker for a workspace; it has not started yet."""
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
        graceful_shutdown_timeout=timedelta(seconds=GRACE_S),
    )


async def register_attributes(client: Client) -> None:
    """Make sure that the server knows our search attribute; raises ConfigError where we may not add it."""
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    if JOB_ATTRIBUTE in known.custom_attributes:
        return
    kinds = {JOB_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(search_attributes=kinds, namespace=client.namespace)
        )
    except RPCError as problem:
        if problem.status is RPCStatusCode.ALREADY_EXISTS:
            return
        raise ConfigError(
            f"The Temporal namespace {client.namespace!r} lacks the search attribute {JOB_ATTRIBUTE}.",
            mend=f"Add it: temporal operator search-attribute create --name {JOB_ATTRIBUTE} --type Keyword.",
        ) from problem


def _silent(named: Mapping[str, str], problem: Exception) -> RetryableError:
    where = named.get("TEMPORAL_ADDRESS", "localhost:7233")
    cause = str(problem).partition("\n")[0].rstrip(".")
    return RetryableError(f"The Temporal server at {where} does not answer: {cause}.", mend="Start it, or try later.")
