"""`python -m services.echo`: send back the query of each request until SIGTERM."""

import asyncio
import http
import sys

from services import runtime
from services.contracts.settings import HttpSettings
from services.http import health
from services.http.health import Readiness
from services.http.messages import Request, Response
from services.http.routing import JSON, NO_STORE, Route, Router
from services.http.server import Server


class Application:
    """Answers requests.

    Attributes:
        draining: whether the process is about to stop, and is not ready any more.
    """

    def __init__(self, route: str) -> None:
        self.draining = False
        router = Router([Route(route, self._echo), *health.routes(self._readiness)])
        self.answer = router.answer
        self.refusal = router.refusal

    def observe(self, request: Request, response: Response, seconds: float) -> None:
        """Count nothing, log nothing."""

    def _echo(self, request: Request) -> Response:
        return Response(http.HTTPStatus.OK, [JSON, NO_STORE], b'{"query":"%s"}' % request.query)

    def _readiness(self) -> Readiness:
        return Readiness(ready=not self.draining, model=None, fault="stopping" if self.draining else None)


async def serve(settings: HttpSettings) -> int:
    """Serve until SIGTERM: readiness turns 503, and after `drain_seconds` the listener closes."""
    application = Application(settings.route)
    server = Server(application)
    stop = await runtime.listen(server, settings.host, settings.port)
    await stop.wait()
    application.draining = True
    await asyncio.sleep(settings.drain_seconds)
    return 0 if await server.close(15) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(runtime.start(HttpSettings))))
