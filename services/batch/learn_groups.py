"""Learns from groups of stores on Beam: a job with an element for each, whose results are staged files."""

import argparse
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, PipelineOptions

from services.batch import command, runners, staging
from services.batch.errors import temporary_errors
from services.batch.stage_groups import GROUPS_FILE, StagedGroups
from services.forecasting import learning


class GroupOptions(PipelineOptions):
    """Options beside Beam's own."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--groups", help="the folder that `stage_groups` named")


class LearnGroup(beam.DoFn):
    """Learns from staged sales and stages what was learned, beside them."""

    def __init__(self, project: str, model: str, origins: Sequence[int]):
        self._project = project
        self._model = model
        self._origins = tuple(origins)

    def process(self, element: str) -> None:
        """Learn from the sales at an address."""
        with temporary_errors():
            panel = staging.read_group(self._project, element)
            learned = learning.learn(panel, command.candidates(self._model), self._origins)
            staging.write_learned(self._project, element, learned)


def learn_groups(options: PipelineOptions) -> dict[str, Any]:
    """Run the job that `stage_groups` prepared.

    Raises:
        BatchError: there is no such folder.
        TemporaryError: the job failed.
    """
    project, folder = options.view_as(GoogleCloudOptions).project, options.view_as(GroupOptions).groups
    groups = msgspec.json.decode(staging.read(project, f"{folder}/{GROUPS_FILE}"), type=StagedGroups)
    runners.choose(options)
    # A group takes all processors of a worker of Dataflow's.
    debug = options.view_as(DebugOptions)
    debug.number_of_worker_harness_threads = 1
    debug.add_experiment("no_use_multiple_sdk_containers")
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | "groups" >> beam.Create(groups.staged, reshuffle=False)
        | "spread" >> beam.Reshuffle()
        | "learn" >> beam.ParDo(LearnGroup(project, groups.model, groups.origins))
    )
    return runners.run(pipeline, lambda _: {"groups": len(groups.staged)})
