"""Pages for browsers: the chart at `/`, the API at `/docs`. Nothing comes from other hosts."""

import gzip
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from services.http import negotiation
from services.http.application import Handler, Route
from services.http.messages import Request, Response
from services.http.negotiation import ConditionalResponse

_FOLDER: Final = Path(__file__).parent / "page"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
}


def page(content: bytes, suffix: str) -> Handler:
    """A handler that responds with a file, compressed if the client accepts that; with 304 if it has it."""
    headers = [
        ("content-type", _TYPES[suffix]),
        ("content-security-policy", _POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
        ("vary", "accept-encoding"),
    ]
    etag = negotiation.etag(content)
    plain = ConditionalResponse(etag, headers, content)
    headers = [*headers, ("content-encoding", "gzip")]
    compressed = ConditionalResponse(f'{etag[:-1]}-gzip"', headers, gzip.compress(content, mtime=0))

    def answer(request: Request) -> Response:
        accepted = compressed if negotiation.accepts_gzip(request) else plain
        return accepted.answer(request)

    return answer


def routes() -> list[Route]:
    """The pages, and their styles and scripts."""
    swagger_ui = Path(str(distribution("flask-swagger-ui").locate_file("flask_swagger_ui/dist")))
    files = {
        "/": _FOLDER / "index.html",
        "/docs": _FOLDER / "docs.html",
        **{f"/{name}": _FOLDER / name for name in ("page.css", "page.js", "docs.css", "docs.js")},
        **{f"/{name}": swagger_ui / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")},
    }
    return [Route(path, page(file.read_bytes(), file.suffix)) for path, file in files.items()]
