"""`python -m services.echo`: send back the query of each request until SIGTERM."""

import asyncio
import http
import sys

from services import runtime
from services.contracts.settings import HttpSettings
from services.http.application import JSON, NO_STORE, Application, Route
from services.http.messages import Request, Response
from services.http.server import Server


def echo(request: Request) -> Response:
    """The query of a request."""
    return Response(http.HTTPStatus.OK, [JSON, NO_STORE], b'{"query":"%s"}' % request.query)


async def serve(settings: HttpSettings) -> int:
    """Serve until SIGTERM: readiness turns 503, and after `drain_seconds` the listener closes."""
    server = Server(Application([Route(settings.route, echo)]))
    stop = await runtime.listen(server, settings)
    await stop.wait()
    return int(not await runtime.drain(server, settings.drain_seconds))


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(runtime.start(HttpSettings))))
