"""Server-sent events as OpenAI-compatible servers write them (WHATWG HTML, section 9.2): bytes in, whole frames out."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import UpstreamBroken

BOM = b"\xef\xbb\xbf"
DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class FrameReader:
    """Cuts a byte stream into frames. Memory stays within `limit` bytes for a frame that does not end."""

    limit: int
    rest: bytes = b""
    begun: bool = False

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads (what follows `data:`) of the frames that are whole now; comments are dropped."""
        if self.begun and not self.rest and single(data) and len(data) <= self.limit:
            return [data[6:-2]]
        data = self.rest + data if self.rest else data
        if not self.begun:
            if len(data) < len(BOM) and BOM.startswith(data):
                self.rest = data
                return []
            data, self.begun = data.removeprefix(BOM), True
        if b"\r" in data:
            held = data.endswith(b"\r")  # the other half of a CRLF may be on its way
            data = (data[:-1] if held else data).replace(b"\r\n", b"\n").replace(b"\r", b"\n") + (
                b"\r" if held else b""
            )
        frames = data.split(b"\n\n")
        self.rest = frames.pop()
        if len(self.rest) > self.limit or any(len(f) > self.limit for f in frames):
            raise UpstreamBroken("The upstream sent a frame that is too large.")
        return [p for f in frames if (p := payload(f)) is not None]

    def finish(self) -> None:
        """The stream has ended; half a frame at its end is an error."""
        if self.rest.strip():
            raise UpstreamBroken("The upstream's answer ended in the middle of a frame.")


def single(data: bytes) -> bool:
    """By far the most common read: one frame of one line, whole."""
    return data.startswith(b"data: ") and data.find(b"\n") == len(data) - 2 and data[-1] == 10 and b"\r" not in data


def payload(frame: bytes) -> bytes | None:
    """The data of one frame, or None for one that carries none (comments, keep-alives)."""
    if frame.startswith(b"data: ") and b"\n" not in frame:
        return frame[6:]
    parts = []
    for line in frame.split(b"\n"):
        if line.startswith(b"data:"):
            parts.append(line[5:].removeprefix(b" "))
        elif line and not line.startswith((b":", b"id:", b"retry:", b"event:")):
            raise UpstreamBroken("The upstream sent a frame of unknown shape.")
    return b"\n".join(parts) if parts else None


def frame(data: bytes) -> bytes:
    if b"\n" in data:  # as several lines of one event
        data = data.replace(b"\n", b"\ndata: ")
    return b"data: " + data + b"\n\n"
