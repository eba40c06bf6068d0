"""The workflows: jobs, and single syncs and reports. All they decide is order; what is done is in the activities.

A history recorded today is replayed by later versions: steps travel as plain data, and a change to the order of
commands here needs ``workflow.patched`` (``tests/replay`` fails without it).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ActivityError, WorkflowAlreadyStartedError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType, ParentClosePolicy

from signalroom.engine.plans import JOB_ATTRIBUTE, Gate, JobPlan, StepCommand, StepPlan

_JOB = SearchAttributeKey.for_keyword(JOB_ATTRIBUTE)
_SCHEDULED = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
_FIRST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(seconds=300)
_GATE_ASKS_EVERY = timedelta(seconds=5)
_GATE_WAITS = timedelta(hours=6)


@workflow.defn(name="JobWorkflow")
class JobWorkflow:
    """A job: its steps in order, then the jobs that wait for it alone.

    A step that failed for good leaves out what cannot do without it, and fails the job once the rest is done.
    """

    @workflow.run
    async def run(self, plan: JobPlan) -> str:
        """Run the job and return ``success``, or ``skipped`` where its local time had come before."""
        due = _due(plan.due_at)
        gate = Gate(plan.job, plan.after, due)
        may_start = await workflow.execute_activity(
            "may_start",
            gate,
            result_type=bool,
            start_to_close_timeout=timedelta(seconds=60),
            schedule_to_close_timeout=_GATE_WAITS,
            retry_policy=RetryPolicy(initial_interval=_GATE_ASKS_EVERY, backoff_coefficient=1.0),
        )
        if not may_start:
            return "skipped"
        execution = f"job:{plan.job}-{due}"
        failed: dict[int, ActivityError] = {}
        for number, step in enumerate(plan.steps, 1):
            if not failed.keys() <= set(step.despite):
                continue
            try:
                await _step(step, StepCommand(plan.job, step.text, execution, f"{execution}/{number}", due))
            except ActivityError as problem:
                if is_cancelled_exception(problem):
                    raise
                failed[number] = problem
        for problem in failed.values():
            raise problem
        for following in plan.then:
            await _begin(replace(following, due_at=due))
        return "success"


@workflow.defn(name="SyncSourceWorkflow")
class SyncSourceWorkflow:
    """One source, or one stream of it, on its own."""

    @workflow.run
    async def run(self, step: StepPlan) -> str:
        """Run the sync and return ``success``."""
        return await _alone(step)


@workflow.defn(name="ReportWorkflow")
class ReportWorkflow:
    """One report on its own, sent once however often it is asked for."""

    @workflow.run
    async def run(self, step: StepPlan) -> str:
        """Deliver the report and return ``success``."""
        return await _alone(step)


async def _alone(step: StepPlan) -> str:
    execution = workflow.info().workflow_id
    await _step(step, StepCommand("", step.text, execution, f"{execution}/1", _due("")))
    return "success"


async def _step(step: StepPlan, command: StepCommand) -> None:
    await workflow.execute_activity(
        "run_step",
        command,
        start_to_close_timeout=timedelta(seconds=step.timeout_s),
        heartbeat_timeout=timedelta(seconds=step.heartbeat_s),
        # A cancelled step is over when it says so: the next one must not meet it half-way.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        retry_policy=RetryPolicy(
            initial_interval=_FIRST_WAIT, maximum_interval=_LONGEST_WAIT, maximum_attempts=step.attempts
        ),
        summary=step.text,
    )


async def _begin(plan: JobPlan) -> None:
    """Start a job that waits for this one; where another job it waits for has started it, that is as good."""
    prefix = workflow.info().workflow_id.partition("job:")[0]
    try:
        await workflow.start_child_workflow(
            JobWorkflow.run,
            plan,
            id=f"{prefix}job:{plan.job}-{plan.due_at}",
            parent_close_policy=ParentClosePolicy.ABANDON,
            search_attributes=TypedSearchAttributes([SearchAttributePair(_JOB, plan.job)]),
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.info("Job %s has started already.", plan.job)


def _due(stated: str) -> str:
    """Return the moment of the schedule, which retries, catch-up and backfill share; else when the workflow began."""
    scheduled = workflow.info().typed_search_attributes.get(_SCHEDULED)
    moment = datetime.fromisoformat(stated) if stated else scheduled or workflow.info().start_time
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


WORKFLOWS = (JobWorkflow, SyncSourceWorkflow, ReportWorkflow)
"""All of them, as a worker registers them."""
