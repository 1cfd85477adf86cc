"""The batch image as a worker of Beam: its real boot, started for a job of the real job server Prism."""

import contextlib
import json
import subprocess
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from tests.conftest import Models, free_port, listening, wait_for
from tests.images import beam_programs

pytestmark = [pytest.mark.slow, pytest.mark.images]

_SECONDS = 600  # other tests may use this machine
QUESTIONS = "\n".join(json.dumps({"store_nbr": store, "family": family}) for store, family in Models.SERIES)


@contextlib.contextmanager
def running(port: int, log: Path, *command: str | Path) -> Generator[None]:
    """A program that listens on a port."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(f"it listens; its log: {log}", lambda: listening(port), _SECONDS)
        yield
    finally:
        process.kill()  # Python as the first process of a container takes no notice of SIGTERM
        process.wait()


def test_the_image_works_for_a_job_server(
    images: Mapping[str, str], models: Models, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As user 65532, whose working folder is not that of the code; a pool in the image starts boot."""
    boot, prism = beam_programs.program("boot"), beam_programs.program("prism")
    if boot is None or prism is None:
        pytest.skip("boot and Prism are absent: `make test-images` builds them")
    forecast = models.publish("v1")
    models.bucket.blob("questions.json").upload_from_string(QUESTIONS)
    job, pool = free_port(), free_port()
    name = f"beam-pool-{pool}"
    options = ("--network=host", "--cap-drop=ALL", f"--env=STORAGE_EMULATOR_HOST={models.url}")
    container = ("podman", "run", "--rm", *options, "--entrypoint=python")
    request.addfinalizer(
        lambda: subprocess.run(
            ["podman", "rm", "--force", "--time=0", name], check=False, capture_output=True
        )
    )
    with (
        running(job, tmp_path / "prism.log", prism, f"--job_port={job}", "--serve_http=false"),
        running(
            pool,
            tmp_path / "pool.log",
            *container,
            f"--name={name}",
            images["batch"],
            *("-m", "apache_beam.runners.worker.worker_pool_main"),
            f"--service_port={pool}",
            "--container_executable=/opt/apache/beam/boot",
        ),
    ):
        done = subprocess.run(
            [
                # Not from here: workers read functions that their own version of Python wrote.
                *(*container, images["batch"], "-m", "services.batch.score", "--no_auth", "--horizon=7"),
                *("--runner=PortableRunner", f"--job_endpoint=127.0.0.1:{job}"),
                *("--environment_type=EXTERNAL", f"--environment_config=127.0.0.1:{pool}"),
                *(f"--input=gs://{models.bucket_name}/questions.json", f"--run_date={Models.FIRST}"),
                *(f"--model_bucket={models.bucket_name}", "--model_project=test"),
                f"--output=gs://{models.bucket_name}/out",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    logs = "".join((tmp_path / log).read_text()[-4000:] for log in ("prism.log", "pool.log"))
    assert done.returncode == 0, done.stderr[-4000:] + logs
    blobs = list(models.bucket.list_blobs(prefix="out/rows"))
    lines = [line for blob in blobs for line in blob.download_as_bytes().splitlines()]
    found = sorted(json.loads(line)["sales"] for line in lines)
    assert found == sorted(forecast.sales[:, :7].ravel().tolist())
