"""The workflows' logic, on a server that skips time; the activities are stand-ins that say what they were told."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from signalroom.engine.activities import Activities
from signalroom.engine.plans import Gate, JobPlan, StepCommand, StepPlan
from signalroom.engine.workflows import WORKFLOWS, JobWorkflow, ReportWorkflow, SyncSourceWorkflow
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.room import Room

from shop_workspace import call, make_shop  # isort: skip

pytestmark = pytest.mark.slow
DUE = "2026-11-20T13:15:00Z"
HOUR = timedelta(hours=1)


class StandIns:
    """Activities that record their commands and fail as scripted."""

    def __init__(self, failures=()):
        self.commands, self.gates, self._failures = [], [], list(failures)

    @activity.defn(name="run_step")
    def run_step(self, command: StepCommand) -> str:
        self.commands.append(command)
        if self._failures:
            raise self._failures.pop(0)
        return command.run_id

    @activity.defn(name="may_start")
    def may_start(self, gate: Gate) -> bool:
        self.gates.append(gate)
        return gate.job != "repeated"


def run(stand_ins, body):
    """Run ``body(client)`` beside a worker with the stand-ins, on a server that skips time."""

    async def main():
        server = str(Path(sys.executable).with_name("temporal-test-server"))
        async with await WorkflowEnvironment.start_time_skipping(test_server_existing_path=server) as world:
            runner = SandboxedWorkflowRunner(
                restrictions=SandboxRestrictions.default.with_passthrough_modules("signalroom")
            )
            with ThreadPoolExecutor(2) as threads:
                async with Worker(
                    world.client, task_queue="q", workflows=WORKFLOWS, workflow_runner=runner,
                    activities=[stand_ins.run_step, stand_ins.may_start], activity_executor=threads,
                ):  # fmt: skip
                    return await body(world)

    return asyncio.run(main())


def refusal(kind, wait_s=None):
    delay = timedelta(seconds=wait_s) if wait_s else None
    return ApplicationError("No.", type=kind, non_retryable=kind != "RetryableError", next_retry_delay=delay)


def test_steps_run_in_order_under_the_ids_of_their_due_time():
    stand_ins = StandIns()
    plan = JobPlan("hourly", [StepPlan("sync a"), StepPlan("build")], due_at=DUE)

    async def body(world):
        return await world.client.execute_workflow(JobWorkflow.run, plan, id="shop/job:hourly-x", task_queue="q")

    assert run(stand_ins, body) == "success"
    told = [(one.job, one.text, one.execution, one.run_id, one.due_at) for one in stand_ins.commands]
    assert told == [
        ("hourly", "sync a", f"job:hourly-{DUE}", f"job:hourly-{DUE}/1", DUE),
        ("hourly", "build", f"job:hourly-{DUE}", f"job:hourly-{DUE}/2", DUE),
    ]
    assert stand_ins.gates == [Gate("hourly", [], DUE)]


def test_what_may_succeed_later_is_tried_again_with_the_wait_it_asked_for():
    stand_ins = StandIns([refusal("RetryableError", 3600), refusal("RetryableError")])

    async def body(world):
        began = await world.get_current_time()
        plan = JobPlan("hourly", [StepPlan("sync a")], due_at=DUE)
        await world.client.execute_workflow(JobWorkflow.run, plan, id="j", task_queue="q")
        return (await world.get_current_time() - began).total_seconds()

    assert run(stand_ins, body) >= 3600
    assert [one.run_id for one in stand_ins.commands] == [f"job:hourly-{DUE}/1"] * 3


@pytest.mark.parametrize(
    ("failures", "tried"),
    [([refusal("ConfigError")], 1), ([refusal("DataError")], 1), ([refusal("RetryableError")] * 5, 5)],
)
def test_a_step_that_fails_for_good_ends_the_job(failures, tried):
    stand_ins = StandIns(failures)

    async def body(world):
        plan = JobPlan("hourly", [StepPlan("sync a"), StepPlan("build")], due_at=DUE)
        with pytest.raises(WorkflowFailureError):
            await world.client.execute_workflow(JobWorkflow.run, plan, id="j", task_queue="q")

    run(stand_ins, body)
    assert [one.text for one in stand_ins.commands] == ["sync a"] * tried


def test_a_report_goes_out_without_a_source_and_the_job_fails_once_the_rest_is_done():
    stand_ins = StandIns([refusal("DataError")])

    async def body(world):
        steps = [
            StepPlan("sync a"),
            StepPlan("build", despite=[1]),
            StepPlan("report strict"),
            StepPlan("report frank", despite=[1, 3]),
        ]
        plan = JobPlan("daily", steps, then=[JobPlan("after", [StepPlan("refresh")])], due_at=DUE)
        with pytest.raises(WorkflowFailureError):
            await world.client.execute_workflow(JobWorkflow.run, plan, id="j", task_queue="q")

    run(stand_ins, body)
    assert [one.text for one in stand_ins.commands] == ["sync a", "build", "report frank"]
    assert [one.run_id[-2:] for one in stand_ins.commands] == ["/1", "/2", "/4"]


def test_a_cancelled_job_does_nothing_more():
    stand_ins = StandIns()

    async def body(world):
        plan = JobPlan("daily", [StepPlan("sync a"), StepPlan("report frank", despite=[1])], due_at=DUE)
        handle = await world.client.start_workflow(JobWorkflow.run, plan, id="j", task_queue="q", start_delay=HOUR)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as ended:
            await handle.result()
        return ended.value.cause

    assert isinstance(run(stand_ins, body), CancelledError)
    assert "report frank" not in [one.text for one in stand_ins.commands]


def test_a_local_time_that_comes_twice_is_run_once_and_single_steps_have_workflows_of_their_own():
    stand_ins = StandIns()

    async def body(world):
        plan = JobPlan("repeated", [StepPlan("sync a")], due_at=DUE)
        skipped = await world.client.execute_workflow(JobWorkflow.run, plan, id="j", task_queue="q")
        for workflow, text in ((SyncSourceWorkflow, "sync a"), (ReportWorkflow, "report r")):
            await world.client.execute_workflow(workflow.run, StepPlan(text), id=f"one:{text}", task_queue="q")
        return skipped

    assert run(stand_ins, body) == "skipped"
    assert [(one.text, one.run_id) for one in stand_ins.commands] == [
        ("sync a", "one:sync a/1"), ("report r", "one:report r/1"),
    ]  # fmt: skip


GATED = """
[jobs.first]
schedule = "0 6 * * *"
steps = ["refresh"]
[jobs.second]
schedule = "30 1 * * *"
timezone = "America/New_York"
after = ["first"]
steps = ["refresh"]
"""


def test_a_job_waits_until_what_it_needs_has_succeeded_and_the_repeated_hour_is_told_apart(tmp_path):
    root = make_shop(tmp_path, GATED)
    with Room.open(root) as room:
        gate = Activities(room)
        now = room.clock.now().isoformat()
        with pytest.raises(ApplicationError, match="waits for job 'first', which has not succeeded") as refused:
            gate.may_start(Gate("second", ["first"], now))
        assert (refused.value.type, refused.value.non_retryable) == ("RetryableError", False)
        assert refused.value.next_retry_delay == timedelta(seconds=10)
        # In New York, 1 November 2026 has 01:30 twice: at 05:30 and at 06:30 UTC.
        assert gate.may_start(Gate("second", [], "2026-11-01T05:30:00Z"))
        assert not gate.may_start(Gate("second", [], "2026-11-01T06:30:00Z"))
        with pytest.raises(ApplicationError, match="no job 'gone'") as refused:
            gate.may_start(Gate("gone", [], now))
        assert refused.value.non_retryable
    call(root, "run", "first")
    with Room.open(root) as room:
        assert Activities(room).may_start(Gate("second", ["first"], room.clock.now().isoformat()))


@pytest.mark.parametrize("kind", [ConfigError, DataError, RetryableError])
def test_errors_keep_their_type_and_their_sentence(tmp_path, kind, monkeypatch):
    from signalroom.engine import inline

    def fail(*_):
        raise kind("It is so.", mend="Do this.")

    monkeypatch.setitem(inline._VERBS, "refresh", fail)
    with (
        Room.open(make_shop(tmp_path)) as room,
        pytest.raises(ApplicationError, match=r"It is so\. Do this\.") as failed,
    ):
        ActivityEnvironment().run(Activities(room).run_step, StepCommand("j", "refresh", "e", "e/1", DUE))
    assert (failed.value.type, failed.value.non_retryable) == (kind.__name__, kind is not RetryableError)


def test_plans_are_plain_data():
    plan = JobPlan("a", [StepPlan("build")], then=[JobPlan("b", [])])
    assert json.loads(json.dumps(plan, default=vars))["then"][0]["job"] == "b"
