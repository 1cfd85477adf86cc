"""Jobs of Beam that the DAG starts: learning from the stores in `--groups`, or the scoring."""

import argparse
import logging
import sys
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, PipelineOptions

from services.batch import command, groups, runners, score


class GroupOptions(PipelineOptions):
    """Options beside Beam's own."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--groups", help="the folder that `stage_groups` named")


def learn_groups(options: PipelineOptions) -> dict[str, Any]:
    """Learn from the groups that `stage_groups` staged, each an element; returns how many there are."""
    project, folder = options.view_as(GoogleCloudOptions).project, options.view_as(GroupOptions).groups
    listed = groups.staged_in(project, folder)
    # A group takes all processors of a worker of Dataflow's.
    debug = options.view_as(DebugOptions)
    debug.number_of_worker_harness_threads = 1
    debug.add_experiment("no_use_multiple_sdk_containers")
    pipeline = runners.pipeline(options)
    _ = (
        pipeline
        | "groups" >> beam.Create(listed.staged, reshuffle=False)
        | "spread" >> beam.Reshuffle()
        | "learn" >> beam.Map(groups.learn, project, listed.model, listed.origins)
    )
    return runners.run(pipeline, lambda _: {"groups": len(listed.staged)})


def main(arguments: list[str] | None = None) -> int:
    """Run the job that the options ask for; returns the exit status."""
    logging.basicConfig(level=logging.INFO)
    options = PipelineOptions(arguments)
    run = learn_groups if options.view_as(GroupOptions).groups else score.score
    return command.attempt(run.__name__, lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
