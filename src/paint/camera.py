"""Read a camera by PyAV, and show its stylised picture in a browser on this machine."""

import io
import logging
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from types import TracebackType
from typing import Any, Self

from PIL import Image

from src.common.errors import InputError
from src.data.clips import Frame, time_of
from src.paint.config import CAMERA

log = logging.getLogger(__name__)

# FFmpeg's input format and the name of the first camera, by system.
DEVICES = {
    "linux": ("v4l2", "/dev/video0"),
    "darwin": ("avfoundation", "0"),
    "win32": ("dshow", "video=Integrated Camera"),
}
BOUNDARY = "frame"
PATIENCE = 10.0  # s without a picture before a camera counts as stopped
PAGE = b"<!doctype html><title>camera</title><style>body{margin:0;background:#111;display:grid;place-items:center;\
height:100vh}img{max-width:100%;max-height:100vh}</style><img src=stream alt='stylised camera picture'>"


@contextmanager
def camera_frames(
    device: str, stop_requested: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Fraction, Iterator[Frame]]]:
    """Open a camera; give its rate, frames a second, and its frames, timed from the first one.

    Frames that arrive while the one before is being stylised are left out. A camera that stops, such as one that is
    unplugged, ends the frames with a warning.

    Args:
        device: `camera` for the first one, or the name that the system has for it.
        stop_requested: asked while waiting for a frame; True ends the frames.

    Raises:
        InputError: it cannot be opened, or stops before its first frame.
    """
    import av

    kind, first = DEVICES.get(sys.platform, DEVICES["linux"])
    name = first if device == CAMERA else device
    try:
        container = av.open(name, format=kind, timeout=PATIENCE)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"content.path: no camera at {name}: {getattr(error, 'strerror', error)}") from None
    with container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        # the reader ends before the container closes
        with closing(_newest(container, stream, rate, stop_requested)) as frames:
            yield rate, frames


def _newest(
    container: Any, stream: Any, rate: Fraction, stop_requested: Callable[[], bool]
) -> Generator[Frame, None, None]:
    """Yield the newest frame each time that one is asked for, at times on the clock of the camera."""
    from av.error import FFmpegError

    newest: list[tuple[Image.Image, Fraction]] = []
    errors: list[FFmpegError] = []
    arrived, ended = threading.Condition(), threading.Event()

    def read() -> None:
        try:
            for number, frame in enumerate(container.decode(stream)):
                if ended.is_set():
                    return
                with arrived:
                    newest[:] = [(frame.to_image(), time_of(frame, number, rate))]
                    arrived.notify()
        except FFmpegError as error:  # such as of a camera that was unplugged
            errors.append(error)
        finally:
            ended.set()
            with arrived:
                arrived.notify()

    def wait() -> None:
        """Wait for a frame, the end of the camera or a signal, by polling: a signal handler must not take the lock."""
        until = monotonic() + PATIENCE
        with arrived:
            while not (newest or ended.is_set() or stop_requested()) and monotonic() < until:
                arrived.wait(0.1)

    reader = threading.Thread(target=read, name="camera", daemon=True)
    begun: Fraction | None = None
    try:
        reader.start()
        while True:
            wait()
            if stop_requested():
                return
            with arrived:
                found = newest.pop() if newest else None
            if found is None:
                silent = "its stream has ended" if ended.is_set() else f"no picture for {PATIENCE:.0f} s"
                reason = errors[0].strerror if errors else silent
                if begun is None:
                    raise InputError(f"content.path: the camera gives no picture: {reason}")
                log.warning("the camera has stopped (%s); the recording ends here", reason)
                return
            image, time = found
            begun = time if begun is None else begun
            yield Frame(image, time - begun)
    finally:
        ended.set()
        reader.join()


class Show:
    """Serves the newest picture as a stream of JPEG at http://127.0.0.1:PORT/ while entered.

    Args:
        port: of this machine; None shows nothing.

    Raises:
        InputError: the port is in use.
    """

    def __init__(self, port: int | None) -> None:
        self.port = port
        self._newest = b""
        self._number = 0
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        """Start to serve."""
        if self.port is not None:
            try:
                self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
            except OSError as error:
                raise InputError(f"serve={self.port}: {error.strerror}; choose another port") from None
            threading.Thread(target=self._server.serve_forever, name="show", daemon=True).start()
            log.info("open http://127.0.0.1:%d/ in a browser", self.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def __call__(self, image: Image.Image) -> None:
        """Show another picture."""
        if self._server is None:
            return
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        with self._changed:
            self._newest, self._number = buffer.getvalue(), self._number + 1
            self._changed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        show = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer with the page or the stream."""
                if (self.headers["host"] or "").partition(":")[0] not in ("127.0.0.1", "localhost"):
                    self.send_error(421)  # another site whose name was made to lead here
                    return
                stream = self.path == "/stream"
                kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}" if stream else "text/html"
                self.send_response(200 if stream or self.path == "/" else 404)
                self.send_header("content-type", kind)
                self.send_header("cross-origin-resource-policy", "same-origin")  # no other site may show the pictures
                self.send_header("content-security-policy", "frame-ancestors 'none'")
                self.end_headers()
                if self.path == "/":
                    self.wfile.write(PAGE)
                seen = 0
                while stream:
                    with show._changed:
                        show._changed.wait_for(lambda: show._number > seen)  # noqa: B023  waits at once
                        data, seen = show._newest, show._number
                    head = f"--{BOUNDARY}\r\ncontent-type: image/jpeg\r\ncontent-length: {len(data)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + data + b"\r\n")
                    except OSError:  # the browser has left
                        return

            def log_message(self, *_: object) -> None:
                """Log no requests."""

        return Handler
