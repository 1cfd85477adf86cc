"""Pipelines on whichever of Beam's runners the options name."""

from collections.abc import Callable
from typing import Any, Final

import apache_beam as beam
from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.dataflow.dataflow_runner import DataflowPipelineResult, DataflowRuntimeException
from apache_beam.runners.runner import PipelineResult

from services.batch.errors import BatchError, TemporaryError

# What Beam's DirectRunner comes to in the end; by that name, it would download Prism and try that first.
_BATCH_HERE: Final = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_STREAM_HERE: Final = "apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"
# They hand the job to a server, without which Beam would download one.
_PORTABLE: Final = ("PortableRunner", "FlinkRunner", "SparkRunner")


def pipeline(options: PipelineOptions, *, streaming: bool = False) -> beam.Pipeline:
    """A pipeline where the options say. Raises BatchError for a runner whose job server they do not name."""
    standard = options.view_as(StandardOptions)
    standard.streaming = streaming
    if standard.runner in (None, "DirectRunner"):
        standard.runner = _STREAM_HERE if streaming else _BATCH_HERE
    elif standard.runner in _PORTABLE and not options.view_as(PortableOptions).job_endpoint:
        raise BatchError(f"--runner={standard.runner} needs --job_endpoint=HOST:PORT, that of its job server")
    if options.view_as(GoogleCloudOptions).no_auth:
        # Beam's files do not know the option: they would look for credentials for 25 s.
        auth._Credentials._credentials_init = True  # pyright: ignore[reportPrivateUsage]
    return beam.Pipeline(options=options)


def run(pipeline: beam.Pipeline, count: Callable[[PipelineResult], dict[str, Any]]) -> dict[str, Any]:
    """Run a pipeline to its end; returns what `count` finds in the result.

    A job of Dataflow gives its id instead, since its launcher must not wait for it.

    Raises:
        TemporaryError: it failed: what its server tells of a worker's error does not say whether it is final.
    """
    job = pipeline.run()
    if isinstance(job, DataflowPipelineResult):
        return {"job": job.job_id()}
    try:
        job.wait_until_finish()
    except (DataflowRuntimeException, RuntimeError) as error:
        raise TemporaryError(f"the job of Beam failed: {error}") from error
    return count(job)
