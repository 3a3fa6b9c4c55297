"""Scripts and styles, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response

from gateway.console.pages import HEADERS
from gateway.errors import UnknownPath

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served, and as what."""


class StaticFiles:
    """Knows each file by its name alone: no path of a request ever reaches the disk."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    @classmethod
    def load(cls) -> StaticFiles:
        """Those that ship with the package."""
        folder = Path(__file__).parent / "static"
        return cls({path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in KINDS})

    async def show(self, request: Request) -> Response:
        name = str(request.path_params["name"])
        body = self._files.get(name)
        if body is None:
            raise UnknownPath("There is no such file.")
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {**HEADERS, "cache-control": "no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=KINDS[Path(name).suffix], headers=headers)
