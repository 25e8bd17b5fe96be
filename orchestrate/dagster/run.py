"""Runs partitions of a plan in this process, one after the other: run.py PLAN [PARTITION …]

Prints a JSON object for each; ends with exit code 1 when one failed. The others run all the same.
"""

import json
import sys

import dagster as dg
from definitions import definitions
from partitions import Plan


def main(path, *wanted):
    plan = Plan.load(path)
    if unknown := set(wanted) - {p.name for p in plan.partitions}:
        sys.exit(f"no such partition: {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in plan.partitions)}")
    all_of_it, failed = definitions(plan), False
    with dg.DagsterInstance.ephemeral() as instance:
        for partition in plan.partitions:
            if wanted and partition.name not in wanted:
                continue
            job = all_of_it.resolve_job_def(f"sync_{partition.name}")
            done = job.execute_in_process(instance=instance, raise_on_error=False)
            retries = sum(e.is_step_up_for_retry for e in done.all_events)
            said = {"partition": partition.name, "ok": done.success, "retries": retries}
            for event in done.get_asset_materialization_events():
                said |= {key: value.value for key, value in event.materialization.metadata.items()}
            print(json.dumps(said), flush=True)
            failed |= not done.success
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
