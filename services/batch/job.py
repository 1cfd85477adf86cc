"""Jobs of Beam that the DAG starts: learning from the stores in `--groups`, or the scoring."""

import logging
import sys

from apache_beam.options.pipeline_options import PipelineOptions

from services.batch import command, score
from services.batch.learn_groups import GroupOptions, learn_groups


def main(arguments: list[str] | None = None) -> int:
    """Run the job that the options ask for; returns the exit status."""
    options = PipelineOptions(arguments)
    if not options.view_as(GroupOptions).groups:
        return score.main(arguments)
    logging.basicConfig(level=logging.INFO)
    return command.attempt("learn_groups", lambda: learn_groups(options))


if __name__ == "__main__":
    sys.exit(main())
