"""Records the histories that the replay test replays; run by hand when a workflow is new: ``python tests/replay/record.py``."""

import asyncio
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.worker import Worker

from engine_world import dev_server
from signalroom.clock import SystemClock
from signalroom.engine.connection import connect_soon, register_attributes
from signalroom.engine.plans import Gate, JobPlan, StepCommand, StepPlan
from signalroom.engine.workflows import WORKFLOWS, JobWorkflow, ReportWorkflow, SyncSourceWorkflow

HISTORIES = Path(__file__).with_name("histories")


@activity.defn(name="run_step")
def run_step(command: StepCommand) -> str:
    if command.text == "sync b" and activity.info().attempt == 1:
        raise RuntimeError("Busy.")
    if command.text == "sync shut":
        raise RuntimeError("Shut.")
    return command.run_id


@activity.defn(name="may_start")
def may_start(gate: Gate) -> bool:
    return gate.job != "repeated"


async def main(address):
    client = await connect_soon({}, address, SystemClock(), 20)
    await register_attributes(client)
    following = JobPlan("following", [StepPlan("refresh")], after=["hourly"])
    steps = [StepPlan("sync a"), StepPlan("sync b"), StepPlan("build")]
    borne = [StepPlan("build", despite=[1]), StepPlan("report strict"), StepPlan("report frank", despite=[1, 3])]
    daily = JobPlan("daily", [StepPlan("sync shut", attempts=1), *borne], due_at="2026-11-20T12:00:00Z")
    hourly = JobPlan("hourly", steps, then=[following], due_at="2026-11-20T13:15:00Z")
    with ThreadPoolExecutor(2) as threads:
        async with Worker(
            client, task_queue="q", workflows=WORKFLOWS, activities=[run_step, may_start], activity_executor=threads
        ):
            for name, workflow, argument in (
                ("job", JobWorkflow.run, hourly),
                ("despite", JobWorkflow.run, daily),
                ("skipped", JobWorkflow.run, JobPlan("repeated", steps)),
                ("sync", SyncSourceWorkflow.run, StepPlan("sync a")),
                ("report", ReportWorkflow.run, StepPlan("report pulse")),
            ):
                handle = await client.start_workflow(workflow, argument, id=f"shop/job:{name}", task_queue="q")
                with suppress(WorkflowFailureError):  # "despite" fails, once the rest is done
                    await handle.result()
                text = (await handle.fetch_history()).to_json()
                text = re.sub(r'"identity": "[^"]*"', '"identity": "recorder"', text)
                text = re.sub(r'"name": "\d+@[^"]*"', '"name": "recorder"', text)
                text = re.sub(r'"stackTrace": "(?:[^"\\]|\\.)*"', '"stackTrace": ""', text)
                (HISTORIES / f"{name}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        server = dev_server(Path(folder))
        try:
            asyncio.run(main(server.start().address))
        finally:
            server.stop()
