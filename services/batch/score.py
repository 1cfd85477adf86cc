"""Score many questions with Beam: which series, for how many days; rows of forecasts are the answer.

Questions come from files or a query (`--input`, `--query`), and the rows replace those of `--run_date` in a
table, or stay in files. With `--subscription` the pipeline streams instead: it answers requests as the
streaming service does. `--runner` and the options of runners are Beam's own.
"""

import argparse
import datetime
import logging
import sys
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.io.gcp.pubsub import ReadFromPubSub, WriteToPubSub
from apache_beam.io.textio import ReadFromText
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsList
from apache_beam.runners.runner import PipelineResult

from services.batch import command, runners
from services.batch.beam_io import InsertRows, WriteLines, query_rows
from services.batch.errors import BatchError
from services.batch.scoring import DEAD, NAMESPACE, ROWS, Answer, AnswerMessages, ModelSource, answered
from services.batch.warehouse import replace_day


class ScoreOptions(PipelineOptions):
    """Options beside Beam's own. Underscores, as Beam has them and Dataflow's parameters must."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--input", help="pattern of files, gs:// or not: a question in JSON on each line")
        parser.add_argument("--query", help="BigQuery SQL whose rows are questions")
        parser.add_argument("--subscription", help="projects/P/subscriptions/S: stream the requests of it")
        parser.add_argument("--model_bucket", help="bucket of the model registry")
        parser.add_argument("--model_project", help="project of the bucket, where queries run")
        parser.add_argument("--model_version", help="what the registry's pointer names when not given")
        parser.add_argument("--run_date", help="first day to forecast, ISO 8601")
        parser.add_argument("--horizon", type=int, help="days to forecast")
        parser.add_argument("--output", help="folder, gs:// or not, for files of rows and dead letters")
        parser.add_argument("--table", help="project.dataset.table whose rows of --run_date are replaced")
        parser.add_argument("--staging_dataset", help="project.dataset where rows are checked before that")
        parser.add_argument("--predictions_table", help="project.dataset.table that streamed rows go to")
        parser.add_argument("--dead_letter_topic", help="projects/P/topics/T for what cannot be answered")
        parser.add_argument("--reply_topic", help="projects/P/topics/T for replies that name no other")
        parser.add_argument("--reply_topics", help="other topics that reply_to may name, with commas between")


def _batch(pipeline: beam.Pipeline, options: ScoreOptions) -> None:
    if bool(options.input) == bool(options.query):
        raise BatchError("questions come from --input, --query or --subscription, one of them")
    if not (options.run_date and options.horizon and options.output):
        raise BatchError("a batch needs --run_date, --horizon and --output")
    if bool(options.table) != bool(options.staging_dataset):
        raise BatchError("--table and --staging_dataset go together")
    folder = options.output.rstrip("/")
    if options.table and not folder.startswith("gs://"):
        raise BatchError("--table needs an --output in gs://: BigQuery loads the rows from there")
    try:
        run_date = datetime.date.fromisoformat(options.run_date)
    except ValueError as error:
        raise BatchError(f"--run_date: {error}") from None
    # The version is found out here, so that every worker takes the same however long the job runs.
    version = ModelSource(options.model_bucket, options.model_project, options.model_version).current()
    source = ModelSource(options.model_bucket, options.model_project, version, run_date, options.horizon)
    source.check(version)
    if options.input:
        questions = pipeline | "read files" >> ReadFromText(options.input, coder=BytesCoder())
    else:
        questions = (
            pipeline
            | "query" >> beam.Create([options.query])
            | "read rows" >> beam.FlatMap(query_rows, options.model_project)
            | "spread" >> beam.Reshuffle()
        )
    answers = answered(questions, Answer(source), DEAD, ROWS)
    if "://" not in folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    files = answers.blocks | "write rows" >> beam.ParDo(WriteLines(options.model_project, f"{folder}/rows"))
    dead = WriteLines(options.model_project, f"{folder}/dead-letters")
    _ = answers[DEAD] | "write dead letters" >> beam.ParDo(dead)
    if options.table:
        sides = AsList(files), AsList(answers[ROWS])
        _ = (
            pipeline
            | "table" >> beam.Create([options.table])
            | "replace the day" >> beam.Map(replace_day, options.staging_dataset, run_date, *sides)
        )


def _stream(pipeline: beam.Pipeline, options: ScoreOptions) -> None:
    if not (options.predictions_table and options.reply_topic and options.dead_letter_topic):
        raise BatchError("streaming needs --predictions_table, --reply_topic and --dead_letter_topic")
    source = ModelSource(options.model_bucket, options.model_project, options.model_version)
    source.check(source.current())
    topics = [options.reply_topic, *filter(None, (options.reply_topics or "").split(","))]
    dead = options.dead_letter_topic
    messages = pipeline | "read messages" >> ReadFromPubSub(
        subscription=options.subscription, with_attributes=True
    )
    answers = answered(messages, AnswerMessages(source, topics, dead), *topics, dead)
    _ = answers.blocks | "save" >> beam.ParDo(InsertRows(options.predictions_table))
    for topic in (*topics, dead):
        publish = WriteToPubSub(topic, with_attributes=True)
        _ = answers[topic] | f"publish to {topic.rpartition('/')[2]}" >> publish


def main(arguments: list[str] | None = None) -> int:
    """Parse the options, run, print what was counted; returns the exit status."""
    logging.basicConfig(level=logging.INFO)
    options = PipelineOptions(arguments)
    return command.attempt("score", lambda: score(options))


def score(options: PipelineOptions) -> dict[str, Any]:
    """Run the pipeline; returns what was counted, or the id of a job of Dataflow."""
    asked = options.view_as(ScoreOptions)
    pipeline = runners.pipeline(options, streaming=bool(asked.subscription))
    if not asked.model_bucket or not asked.model_project:
        raise BatchError("--model_bucket and --model_project say where the model is")
    add_transforms = _stream if asked.subscription else _batch
    add_transforms(pipeline, asked)
    return runners.run(pipeline, _counted)


def _counted(job: PipelineResult) -> dict[str, Any]:
    counters = job.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    # What was counted never is None with some runners.
    return {counter.key.metric.name: counter.result or 0 for counter in counters}


if __name__ == "__main__":
    sys.exit(main())
