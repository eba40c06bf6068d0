"""The way to a Temporal server: settings by `TEMPORAL_*`, and in one sentence why it is not reached."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RPCError, RPCStatusCode

from signalroom.engine.plans import JOB_ATTRIBUTE
from signalroom.errors import ConfigError, RetryableError, SignalRoomError

if TYPE_CHECKING:
    from signalroom.clock import Clock

# Names that deployments use, beside Temporal's own.
_ALIASES = {
    "TEMPORAL_TLS_CERT_PATH": "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_KEY_PATH": "TEMPORAL_TLS_CLIENT_KEY_PATH",
}
_ASK_AGAIN_S = 0.1
_LOOK_TAKES = timedelta(seconds=10)  # a server that is frozen takes calls and answers none


class _Cause(NamedTuple):
    """What the client's own words for a failed connection mean: the first of these that they hold."""

    words: str
    error: type[ConfigError | RetryableError]
    said: str
    mend: str


_OWN_CERTIFICATE = "Set TEMPORAL_TLS_CERT_PATH and TEMPORAL_TLS_KEY_PATH to the certificate it expects."
_OWN_KEY = "Check TEMPORAL_API_KEY or the certificate, and TEMPORAL_NAMESPACE."
_CAUSES = (
    _Cause("code: Unauthenticated", ConfigError, "refuses us", _OWN_KEY),
    _Cause("code: PermissionDenied", ConfigError, "refuses us", _OWN_KEY),
    _Cause("InvalidContentType", ConfigError, "speaks no TLS",
           "Unset TEMPORAL_TLS and TEMPORAL_API_KEY, which ask for it, or name its TLS address."),
    _Cause("UnknownIssuer", ConfigError, "shows a certificate whose issuer is not known here",
           "Set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the issuer's certificate."),
    _Cause("NotValidForName", ConfigError, "shows a certificate of another name",
           "Set TEMPORAL_TLS_SERVER_NAME to a name in it, or correct TEMPORAL_ADDRESS."),
    _Cause("Expired", ConfigError, "shows a certificate that has expired", "Have it renewed."),
    _Cause("InvalidCertificate", ConfigError, "shows a certificate that cannot be trusted",
           "Have it made anew, or set TEMPORAL_TLS_SERVER_CA_CERT_PATH to its issuer's."),
    _Cause("CertificateRequired", ConfigError, "asks for a certificate of ours", _OWN_CERTIFICATE),
    _Cause("UnknownCA", ConfigError, "does not accept our certificate", _OWN_CERTIFICATE),
    _Cause("HandshakeFailure", ConfigError, "does not accept our certificate", _OWN_CERTIFICATE),
    # A server that wants another certificate of ours may just hang up, and so may one that ends.
    *(
        _Cause(words, RetryableError, "hangs up", f"{_OWN_CERTIFICATE[:-1]}, if it expects one; else try later.")
        for words in ("connection closed", "ConnectionReset", "BrokenPipe")
    ),
    _Cause("ConnectionRefused", RetryableError, "does not answer: nothing listens there",
           "Start it, or correct TEMPORAL_ADDRESS."),
    _Cause("dns error", RetryableError, "does not answer: its name is not known",
           "Correct TEMPORAL_ADDRESS, or try later."),
)  # fmt: skip


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
        raise _refusal(problem, named.get("TEMPORAL_ADDRESS", "")) from problem
    except (ValueError, OSError) as problem:
        raise ConfigError(f"TEMPORAL_*: {problem}.", mend="Correct the variable or the file it names.") from problem
    except RuntimeError as problem:  # what the client raises for a connection that failed
        raise _unreached(problem, named.get("TEMPORAL_ADDRESS", "")) from problem


async def connect_soon(environ: Mapping[str, str], address: str, clock: Clock, within_s: float) -> Client:
    """Return a client of a server that has just been started; raises RetryableError when it does not come up."""
    deadline = clock.monotonic() + within_s
    while True:
        try:
            return await connect(environ, address)
        except RetryableError:
            if clock.monotonic() > deadline:
                raise
            await asyncio.sleep(_ASK_AGAIN_S)


async def register_attributes(client: Client) -> None:
    """Make sure that the server knows our search attribute.

    Raises:
        ConfigError: There is no such namespace, or we may not add to it.
        RetryableError: The server does not answer.
    """
    namespace, address = client.namespace, client.service_client.config.target_host
    try:
        known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
    except RPCError as problem:
        if problem.status is RPCStatusCode.NOT_FOUND:
            raise ConfigError(
                f"The Temporal server at {address} has no namespace {namespace!r}.",
                mend="Correct TEMPORAL_NAMESPACE, or make it: "
                f"`temporal operator namespace create --namespace {namespace}`.",
            ) from problem
        raise _refusal(problem, address) from problem
    if JOB_ATTRIBUTE in known.custom_attributes:
        return
    kinds = {JOB_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(search_attributes=kinds, namespace=namespace)
        )
    except RPCError as problem:
        if problem.status is RPCStatusCode.ALREADY_EXISTS:
            return
        raise ConfigError(
            f"The Temporal namespace {namespace!r} lacks the search attribute {JOB_ATTRIBUTE}.",
            mend=f"Add it: temporal operator search-attribute create --name {JOB_ATTRIBUTE} --type Keyword.",
        ) from problem


async def workers_of(client: Client, queue: str) -> set[str]:
    """Return the identities of the workers that asked for a queue's steps in the last minutes; raises RPCError."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    )
    found = await client.workflow_service.describe_task_queue(request, timeout=_LOOK_TAKES)
    return {one.identity for one in found.pollers}


@contextmanager
def explained(client: Client) -> Generator[None]:
    """Raise what the server refuses, or does not answer, within the block as an error of ours."""
    try:
        yield
    except RPCError as problem:
        raise _refusal(problem, client.service_client.config.target_host) from problem


def _refusal(problem: RPCError, address: str) -> SignalRoomError:
    where, said = address or "localhost:7233", problem.message.rstrip(".")
    if problem.status in {RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED}:
        return ConfigError(f"The Temporal server at {where} refuses us: {said}.", mend=_OWN_KEY)
    return RetryableError(f"The Temporal server at {where} does not answer: {said}.", mend="Start it, or try later.")


def _unreached(problem: RuntimeError, address: str) -> SignalRoomError:
    where, told = address or "localhost:7233", str(problem)
    for cause in _CAUSES:
        if cause.words in told:
            return cause.error(f"The Temporal server at {where} {cause.said}.", mend=cause.mend)
    first = told.partition("\n")[0].removeprefix("Failed client connect: ").rstrip(".")
    return RetryableError(f"The Temporal server at {where} does not answer: {first}.", mend="Start it, or try later.")
