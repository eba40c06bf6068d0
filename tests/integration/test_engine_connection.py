"""What stands between a worker and its server: TLS, keys, names; each that is wrong is said in one sentence."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import pytest

from engine_world import JOBS, dev_server, make_world
from shop_workspace import call
from signalroom.clock import SystemClock
from signalroom.engine import operating
from signalroom.engine.connection import connect, connect_soon, register_attributes
from signalroom.engine.schedules import reconcile
from signalroom.engine.worker import task_queue
from signalroom.errors import ConfigError, RetryableError
from signalroom.room import Room
from temporal_doors import Door, forward, make_certificate, turn_away

pytestmark = pytest.mark.slow
KEY = "tmprl-canary-key-3f1c"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = dev_server(tmp_path_factory.mktemp("temporal"))
    running = one.start()
    asyncio.run(connect_soon({}, running.address, SystemClock(), 20))
    yield running.address
    one.stop()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Certificates: the server's, our worker's, and a stranger's."""
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name) for name in ("server", "worker", "stranger")}


def reach(environ):
    async def main():
        client = await connect(environ)
        await register_attributes(client)
        return client.namespace

    return asyncio.run(main())


def test_tls_and_a_certificate_of_our_own(server, files):
    named = {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(files["server"][0])}
    with Door(forward(server), files["server"]) as door:
        assert reach({"TEMPORAL_ADDRESS": door.address, **named}) == "default"
        # A key asks for TLS by itself.
        assert reach({"TEMPORAL_ADDRESS": door.address, **named, "TEMPORAL_API_KEY": KEY}) == "default"
        with pytest.raises(ConfigError, match=r"issuer is not known here\. Set TEMPORAL_TLS_SERVER_CA_CERT_PATH"):
            reach({"TEMPORAL_ADDRESS": door.address, "TEMPORAL_TLS": "true"})
        with pytest.raises(ConfigError, match=r"another name\. Set TEMPORAL_TLS_SERVER_NAME"):
            reach({"TEMPORAL_ADDRESS": door.address, **named, "TEMPORAL_TLS_SERVER_NAME": "elsewhere.test"})
        with pytest.raises(RetryableError, match=f"at {door.address} (does not answer|hangs up)"):
            reach({"TEMPORAL_ADDRESS": door.address})  # no TLS where TLS is spoken
    with Door(forward(server), files["server"], files["worker"][0]) as door:
        certificate, key = map(str, files["worker"])
        named |= {"TEMPORAL_ADDRESS": door.address}
        assert reach({**named, "TEMPORAL_TLS_CERT_PATH": certificate, "TEMPORAL_TLS_KEY_PATH": key}) == "default"
        for wrong in ({}, dict(zip(("TEMPORAL_TLS_CERT_PATH", "TEMPORAL_TLS_KEY_PATH"), map(str, files["stranger"]), strict=True))):  # fmt: skip
            # By the time the server looks at our certificate, the client believes to be connected: some are hung up on.
            with pytest.raises((ConfigError, RetryableError), match=r"Set TEMPORAL_TLS_CERT_PATH and"):
                reach({**named, **wrong})


def test_a_key_that_is_refused_is_named_and_not_shown(files):
    with Door(turn_away, files["server"]) as door, pytest.raises(ConfigError) as refused:
        reach({
            "TEMPORAL_ADDRESS": door.address, "TEMPORAL_API_KEY": KEY,
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(files["server"][0]),
        })  # fmt: skip
    assert f"at {door.address} refuses us. Check TEMPORAL_API_KEY" in str(refused.value)
    assert KEY not in str(refused.value)


def test_names_that_are_wrong(server, tmp_path):
    with pytest.raises(ConfigError, match=r"no namespace 'shpo'\. Correct TEMPORAL_NAMESPACE, or make it: `temporal"):
        reach({"TEMPORAL_ADDRESS": server, "TEMPORAL_NAMESPACE": "shpo"})
    with pytest.raises(ConfigError, match=r"speaks no TLS\. Unset TEMPORAL_TLS"):
        reach({"TEMPORAL_ADDRESS": server, "TEMPORAL_API_KEY": KEY})
    with pytest.raises(ConfigError, match=r"TEMPORAL_\*: .*nowhere\.pem"):
        reach({"TEMPORAL_ADDRESS": server, "TEMPORAL_TLS_CERT_PATH": "/nowhere.pem"})
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RetryableError, match=f"at {address} does not answer: nothing listens there"):
        reach({"TEMPORAL_ADDRESS": address})
    # And so for whoever starts one, or asks it.
    root = make_world(tmp_path)
    (root / ".env").write_text(f"TEMPORAL_ADDRESS={address}\n")
    for words in (["up", "--port", "0"], ["jobs"], ["jobs", "trigger", "daily"]):
        assert f"at {address} does not answer: nothing listens there." in call(root, *words, code=3).output
    (root / ".env").write_text(f"TEMPORAL_ADDRESS={server}\nTEMPORAL_NAMESPACE=shpo\n")
    assert "no namespace 'shpo'" in call(root, "up", "--port", "0", code=2).output


def test_a_job_that_the_scheduler_has_not_taken_up(server, tmp_path):
    root = make_world(tmp_path)
    (root / ".env").write_text(f"TEMPORAL_ADDRESS={server}\n")
    assert (
        "does not know job 'daily' yet. Start `signalroom up`" in call(root, "jobs", "trigger", "daily", code=2).output
    )
    call(root, "jobs", "pause", "daily", "--note", "not yet")  # the ledger keeps it until the job is taken up
    assert "paused: not yet" in call(root, "jobs").output
    call(root, "jobs", "resume", "daily")
    assert "paused" not in call(root, "jobs").output


def test_a_queue_that_nobody_takes_steps_from(server, tmp_path, monkeypatch):
    monkeypatch.setattr(operating, "_FIRST_ASKS_WITHIN_S", 0.0)
    root = make_world(tmp_path, f'{JOBS}[jobs.by_hand]\nsteps = ["refresh"]\n')
    (root / ".env").write_text(f"TEMPORAL_ADDRESS={server}\nTEMPORAL_TASK_QUEUE=shpo\n")
    file = root / "signalroom.toml"  # the tests of this file share a server: a name of its own
    file.write_text(file.read_text().replace('name = "shop"', 'name = "queues"'))

    async def schedule(room):
        await reconcile(await connect(room.workspace.environ), room, task_queue(room))

    with Room.open(root) as room:
        asyncio.run(schedule(room))
    day = str(datetime.now(UTC).date() - timedelta(days=1))
    told = (
        "No worker takes steps from the queue 'shpo' in the namespace 'default'. Start one, or set TEMPORAL_TASK_QUEUE"
    )
    for words in (
        ["trigger", "daily"],
        ["trigger", "by_hand"],
        ["backfill", "daily", "--from", day, "--to", day, "--send"],
    ):
        assert told in call(root, "jobs", *words, code=2).output
