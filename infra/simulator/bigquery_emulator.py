"""Runs the BigQuery emulator, bqemulator, with its data on disk and without downloads.

bqemulator needs DuckDB's extensions `spatial` and `avro`, which DuckDB would download. Here they come from
wheels: links in DuckDB's folder of extensions point to them.
"""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_avro
import duckdb_extension_spatial
from bqemulator.config import LogFormat, LogLevel, PersistenceMode, Settings
from bqemulator.grpc_api import write_servicer
from bqemulator.server import run_forever
from bqemulator.streaming import proto_deserializer

from infra.simulator.home import folder, keep_logs_small


def _link_extensions(home: Path) -> None:
    """Link the extensions of the wheels into DuckDB's folder of extensions, below a $HOME of its own."""
    os.environ["HOME"] = str(home)
    with duckdb.connect() as connection:
        (platform,) = connection.execute("PRAGMA platform").fetchall()[0]
    extensions = home / ".duckdb" / "extensions" / f"v{duckdb.__version__}" / platform
    extensions.mkdir(parents=True, exist_ok=True)
    for package in (duckdb_extension_spatial, duckdb_extension_avro):
        (file,) = Path(package.__path__[0]).rglob("*.duckdb_extension")
        link = extensions / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file)


def _fields_of(message: Any, descriptor: Any) -> dict[str, Any]:
    """A row of the Storage Write API by column; absent columns are None.

    bqemulator's function needs protobuf 6, but Terraform's plugin protocol needs protobuf 5 here.
    """
    decode = proto_deserializer._decode_field_value  # pyright: ignore[reportPrivateUsage]
    return {
        field.name: decode(field, getattr(message, field.name)) if message.HasField(field.name) else None
        for field in descriptor.fields
    }


class _WriteHandler(write_servicer.BigQueryWriteHandler):
    """The Storage Write API, which writes on the event loop, as queries do.

    bqemulator's handler writes in the thread of the call, on the connection of queries, which can deadlock
    between the lock of the connection and that of the interpreter.
    """

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._loop = asyncio.get_running_loop()

    def _flush_to_target(self, stream: Any, rows: Any) -> None:
        async def flush() -> None:
            super(_WriteHandler, self)._flush_to_target(stream, rows)

        asyncio.run_coroutine_threadsafe(flush(), self._loop).result()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="REST")
    parser.add_argument("--grpc-port", type=int, required=True, help="Storage Read and Write API")
    arguments = parser.parse_args()
    data = folder("data/bigquery")
    keep_logs_small(folder("logs"))
    _link_extensions(data)
    write_servicer.BigQueryWriteHandler = _WriteHandler
    proto_deserializer._message_to_dict = _fields_of  # pyright: ignore[reportPrivateUsage]
    run_forever(
        Settings(
            rest_port=arguments.port,
            grpc_port=arguments.grpc_port,
            persistence_mode=PersistenceMode.PERSISTENT,
            data_dir=data,
            gcs_local_root=folder("data/storage"),
            upload_staging_dir=data / "uploads",
            # Every write copies its table for time travel. With 0, copies are deleted within a minute.
            time_travel_retention_days=0,
            log_level=LogLevel.WARNING,
            log_format=LogFormat.CONSOLE,
        )
    )


if __name__ == "__main__":
    main()
