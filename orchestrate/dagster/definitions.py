"""Dagster's definitions: an asset and a job for each partition of the plan that LDAP_PARTITIONS names.

    LDAP_PARTITIONS=plan.json dagster dev -f definitions.py
"""

import os

import dagster as dg
from partitions import Plan
from pipeline import PipelineError, run_partition


def asset(plan, partition):
    """The asset of a partition, which one run brings up to date."""

    @dg.asset(
        name=partition.name,
        key_prefix=["ldap"],
        group_name="ldap",
        # As many at once as the pool `ldap` is given (dagster instance concurrency set ldap N).
        pool="ldap",
        retry_policy=dg.RetryPolicy(
            max_retries=plan.retries,
            delay=plan.retry_seconds,
            backoff=dg.Backoff.EXPONENTIAL,
            jitter=dg.Jitter.PLUS_MINUS,
        ),
        metadata={"filter": partition.stream["filter"], "base_dn": partition.stream.get("base_dn", "")},
    )
    def partition_asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        try:
            return dg.MaterializeResult(metadata=run_partition(plan, partition, context.log.debug))
        except PipelineError as error:
            raise dg.Failure(str(error), allow_retries=error.retry) from error

    return partition_asset


def definitions(plan):
    """All assets, a job for each, and a schedule that begins them every hour."""
    assets = [asset(plan, partition) for partition in plan.partitions]
    jobs = [dg.define_asset_job(f"sync_{a.key.path[-1]}", selection=[a]) for a in assets]
    schedules = [dg.ScheduleDefinition(job=job, cron_schedule=f"{i * 60 // len(jobs)} * * * *") for i, job in enumerate(jobs)]
    return dg.Definitions(assets=assets, jobs=jobs, schedules=schedules)


if "LDAP_PARTITIONS" in os.environ:
    defs = definitions(Plan.load(os.environ["LDAP_PARTITIONS"]))
