"""Pages for browsers: the chart at `/`, the API documentation at `/docs`. Nothing comes from other hosts."""

import gzip
import hashlib
import html
from pathlib import Path
from typing import Any, Final

import msgspec

from services.http import negotiation
from services.http.messages import Request, Response

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
        compressed = negotiation.accepts_gzip(request.headers.get(b"accept-encoding"))
        response, not_modified = self._compressed if compressed else self._plain
        etag = self._compressed_etag if compressed else self._etag
        condition = request.headers.get(b"if-none-match")
        return not_modified if condition is not None and negotiation.matches(condition, etag) else response


def load(name: str) -> Page:
    """Read a file of the folder `page`."""
    file = _FOLDER / name
    return Page(file.read_bytes(), file.suffix)


def documentation(document: dict[str, Any]) -> Page:
    """The OpenAPI document as a web page."""
    operations = [
        _operation(path, verb, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
    schemas = [
        f'<details id="schema-{html.escape(name)}"><summary>{html.escape(name)}</summary>'
        f'<pre tabindex="0"><code>{html.escape(_pretty(schema))}</code></pre></details>'
        for name, schema in document["components"]["schemas"].items()
    ]
    info = document["info"]
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(info["title"])}: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
</head>
<body>
<header><h1>{html.escape(info["title"])}: API</h1>
<nav aria-label="Service"><a href="/">Chart</a> <a href="/openapi.json">OpenAPI document</a></nav></header>
<main>
<p>{html.escape(info["description"])}</p>
{"".join(operations)}
<h2>Schemas</h2>
{"".join(schemas)}
</main>
</body>
</html>
"""
    return Page(text.encode(), ".html")


def _operation(path: str, verb: str, operation: dict[str, Any]) -> str:
    name = html.escape(f"{verb.upper()} {path}")
    parameters = "".join(
        f'<tr><th scope="row"><code>{html.escape(each["name"])}</code>'
        f"{' (required)' if each['required'] else ''}</th><td>{html.escape(each['description'])}</td>"
        f"<td><code>{html.escape(_brief(each['schema']))}</code></td></tr>"
        for each in operation.get("parameters", ())
    )
    responses = "".join(
        f'<tr><th scope="row">{status}</th><td>{html.escape(response["description"])}</td>'
        f"<td>{html.escape(', '.join(response.get('content', {})))}</td></tr>"
        for status, response in sorted(operation["responses"].items())
    )
    bodies = "".join(
        f"<p>Body: {media_type}, <code>{_brief(content['schema'])}</code></p>"
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items()
    )
    return f"""<section class="operation" aria-label="{name}">
<h2><span class="verb">{verb.upper()}</span><code>{html.escape(path)}</code></h2>
<p>{html.escape(operation["summary"])}</p>
{_table("Parameters", ("Name", "Meaning", "Values"), parameters)}
{bodies}
{_table("Responses", ("Status", "When", "Content"), responses)}
</section>
"""


def _table(caption: str, headings: tuple[str, ...], rows: str) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _brief(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    return msgspec.json.encode(schema).decode()


def _pretty(schema: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
