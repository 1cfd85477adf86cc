"""Learns from groups of stores on Beam: a job with an element for each, whose results are staged files."""

from collections.abc import Sequence

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException

from services.batch import command, runners, staging
from services.batch.errors import TemporaryError, temporary_errors
from services.contracts.settings import BatchSettings
from services.forecasting import artifact, learning
from services.forecasting.learning import Candidates, Learned
from services.forecasting.panel import Panel


class LearnGroup(beam.DoFn):
    """Learns from staged sales and stages what was learned, beside them; the same bytes when repeated."""

    def __init__(self, project: str, model: str, origins: Sequence[int]):
        self._project = project
        self._model = model
        self._origins = tuple(origins)

    def process(self, element: str) -> None:
        """Learn from the sales at an address."""
        with temporary_errors():
            panel = _decode(staging.read(self._project, element))
            learned = learning.learn(panel, command.candidates(self._model), self._origins)
            bucket, _, name = element.removeprefix("gs://").partition("/")
            staging.upload(self._project, bucket, _learned(name), learned.encode())


def learn_with(settings: BatchSettings, version: str, model: str, arguments: list[str]) -> learning.Learn:
    """Learning from groups with a job of Beam's, or here where there is one group only.

    Args:
        settings: of the command.
        version: trained; names the folder of staged files.
        model: kind of model.
        arguments: options of Beam.
    """

    def learn(groups: Sequence[Panel], candidates: Candidates, origins: Sequence[int]) -> list[Learned]:
        if len(groups) == 1:
            return learning.learn_here(groups, candidates, origins)
        options = PipelineOptions(arguments)
        runners.choose(options)
        staged = [
            staging.upload(
                settings.project, settings.staging_bucket, f"training/{version}/{number}.npz", _encode(group)
            )
            for number, group in enumerate(groups, start=1)
        ]
        pipeline = beam.Pipeline(options=options)
        _ = (
            pipeline
            | "groups" >> beam.Create(staged, reshuffle=False)
            | "spread" >> beam.Reshuffle()
            | "learn" >> beam.ParDo(LearnGroup(settings.project, model, origins))
        )
        try:
            pipeline.run().wait_until_finish()
        except (DataflowRuntimeException, RuntimeError) as error:
            raise TemporaryError(f"the job of Beam failed: {error}") from error
        return [Learned.decode(staging.read(settings.project, _learned(each))) for each in staged]

    return learn


def _learned(name: str) -> str:
    return name.replace(".npz", "-learned.npz")


def _encode(panel: Panel) -> bytes:
    arrays = {} if panel.onpromotion is None else {"onpromotion": panel.onpromotion}
    return artifact.encode(
        first_date=np.array(panel.first_date, dtype="datetime64[D]"),
        store_nbr=np.array(panel.store_nbr),
        family=np.array(panel.family),
        sales=panel.sales,
        **arrays,
    )


def _decode(content: bytes) -> Panel:
    arrays = artifact.decode(content)
    return Panel(
        first_date=arrays["first_date"].item(),
        store_nbr=tuple(arrays["store_nbr"].tolist()),
        family=tuple(arrays["family"].tolist()),
        sales=arrays["sales"],
        onpromotion=arrays.get("onpromotion"),
    )
