"""Pages for browsers: the chart at `/`, the API at `/docs`. Nothing comes from other hosts."""

import gzip
import hashlib
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from services.http import negotiation
from services.http.messages import Request, Response
from services.http.routing import Route, get

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


class Page:
    """A file, uncompressed and compressed.

    Args:
        content: Content of the file.
        suffix: Suffix of its name.
    """

    def __init__(self, content: bytes, suffix: str) -> None:
        self._etag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
        self._compressed_etag = f'{self._etag[:-1]}-gzip"'
        headers = [
            ("content-type", _TYPES[suffix]),
            ("content-security-policy", _POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
            ("vary", "accept-encoding"),
        ]
        self._plain = self._responses(content, [*headers, ("etag", self._etag)])
        self._compressed = self._responses(
            gzip.compress(content, mtime=0),
            [*headers, ("etag", self._compressed_etag), ("content-encoding", "gzip")],
        )

    @staticmethod
    def _responses(body: bytes, headers: list[tuple[str, str]]) -> tuple[Response, Response]:
        return Response(200, headers, body), Response(304, headers)

    def answer(self, request: Request) -> Response:
        """The file, or status 304 if the client has it."""
        accepted = request.headers.get(b"accept-encoding", b"")
        compressed = negotiation.accepts_gzip(accepted[: negotiation.MAX_BYTES])
        response, not_modified = self._compressed if compressed else self._plain
        etag = self._compressed_etag if compressed else self._etag
        condition = request.headers.get(b"if-none-match")
        return not_modified if condition is not None and negotiation.matches(condition, etag) else response


def routes() -> list[Route]:
    """The pages, and their styles and scripts."""
    swagger_ui = Path(str(distribution("flask-swagger-ui").locate_file("flask_swagger_ui/dist")))
    files = {
        "/": _FOLDER / "index.html",
        "/docs": _FOLDER / "docs.html",
        **{f"/{name}": _FOLDER / name for name in ("page.css", "page.js", "docs.css", "docs.js")},
        **{f"/{name}": swagger_ui / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")},
    }
    return [get(path, Page(file.read_bytes(), file.suffix).answer) for path, file in files.items()]
