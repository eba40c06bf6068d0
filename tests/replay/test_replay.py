"""Histories of earlier versions mean the same to this one: a run that is under way goes on after an upgrade.

A failure here says: a worker of this version would stop at every run that an earlier one began. Keep the order of the
workflow's commands, or branch by ``workflow.patched``.
"""

import asyncio
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from signalroom.engine.plans import JobPlan
from signalroom.engine.workflows import WORKFLOWS

HISTORIES = sorted(Path(__file__).with_name("histories").glob("*.json"))


def replay(file, workflows):
    # Left out, the build id is a hash of every module that is loaded: seconds.
    replayer = Replayer(workflows=workflows, workflow_runner=UnsandboxedWorkflowRunner(), build_id="replay")
    history = WorkflowHistory.from_json(f"shop/job:{file.stem}", file.read_text())
    asyncio.run(replayer.replay_workflow(history))


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_recorded_histories_replay(file):
    replay(file, WORKFLOWS)


@workflow.defn(name="JobWorkflow")
class WithoutItsGate:
    """What a careless change would look like."""

    @workflow.run
    async def run(self, plan: JobPlan) -> str:
        await workflow.sleep(1)
        return plan.job


def test_a_change_of_order_is_found():
    with pytest.raises(NondeterminismError):
        replay(next(file for file in HISTORIES if file.stem == "job"), [WithoutItsGate])


def test_there_are_histories():
    assert {file.stem for file in HISTORIES} >= {"despite", "job", "report", "skipped", "sync"}
