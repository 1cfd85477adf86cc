"""Health, readiness and metrics of the service."""

from collections.abc import Callable

from services.forecasting.follower import ModelFollower
from services.http import health
from services.http.health import Readiness
from services.http.messages import Request, Response
from services.http.routing import Router
from services.streaming.replies import ModelReplies


class Application:
    """Answers the requests of Kubernetes and Prometheus."""

    def __init__(self, follower: ModelFollower[ModelReplies], fault: Callable[[], str | None]) -> None:
        self.draining = False
        self._follower = follower
        self._fault = fault
        router = Router(health.routes(self._readiness))
        self.answer = router.answer
        self.refusal = router.refusal

    def observe(self, request: Request, response: Response, seconds: float) -> None:
        """Nothing to do: metrics and logs are about messages."""

    def _readiness(self) -> Readiness:
        """Ready with a model loaded, a subscription that responds, if it is pulled, and answers."""
        model = self._follower.current
        stopping = "stopping" if self.draining else None
        fault = self._fault()
        return Readiness(
            ready=model is not None and not stopping and not fault,
            model=model.manifest.version if model else None,
            fault=stopping or fault or self._follower.error,
        )
