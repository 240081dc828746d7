"""Events: how they are made, and sent in batches."""

import atexit
import threading
import uuid
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence


def usage_event(
    source: str, *, id: Optional[str] = None, time: Optional[datetime] = None, **data: Any
) -> Dict[str, Any]:
    """A `usage.request` as the API takes it. Send it again with the same `id`, and it counts once."""
    at = (time or datetime.now(timezone.utc)).astimezone(timezone.utc)
    return {
        "specversion": "1.0",
        "id": id or str(uuid.uuid4()),
        "source": source,
        "type": "usage.request",
        "time": at.isoformat().replace("+00:00", "Z"),
        "data": data,
    }


class EventQueue:
    """Collects events and sends them in batches: when `batch_size` are there, every `interval` seconds, on `flush`, and
    when the program ends.

    A batch that could not be sent stays in the queue, and is sent again. Events that the API rejects are given to
    `on_rejected`, each with its verdict; without it they are collected in `rejected`. When `queue_max` events wait,
    `send` raises `OverflowError`: nothing is dropped unseen.
    """

    def __init__(
        self,
        client: Any,
        *,
        batch_size: int = 500,
        interval: float = 1.0,
        queue_max: int = 100_000,
        on_rejected: Optional[Callable[[Mapping[str, Any], Mapping[str, Any]], None]] = None,
        on_error: Optional[Callable[[Exception], None]] = None,
    ) -> None:
        self._client = client
        self._batch_size = max(1, min(batch_size, 1000))
        self._interval = interval
        self._queue_max = queue_max
        self._on_rejected = on_rejected
        self._on_error = on_error
        self._waiting: List[Mapping[str, Any]] = []
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self.accepted = 0
        self.duplicate = 0
        self.rejected: List[Mapping[str, Any]] = []
        self._thread = threading.Thread(target=self._run, name="aihub-events", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __enter__(self) -> "EventQueue":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def send(self, event: Mapping[str, Any]) -> None:
        """Adds an event."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the queue is closed")
            if len(self._waiting) >= self._queue_max:
                raise OverflowError(f"{self._queue_max} events wait")
            self._waiting.append(event)
            is_full = len(self._waiting) >= self._batch_size
        if is_full:
            self._wake.set()

    def flush(self) -> None:
        """Sends all that waits. Raises what the last attempt raised."""
        with self._sending:
            while True:
                with self._lock:
                    batch = self._waiting[: self._batch_size]
                if not batch:
                    return
                verdicts = self._verdicts(batch)
                with self._lock:
                    del self._waiting[: len(batch)]
                self._count(batch, verdicts)

    def close(self) -> None:
        """Sends all that waits, and ends."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wake.set()
        self._thread.join(timeout=self._interval + 1)
        atexit.unregister(self.close)
        self.flush()

    def _verdicts(self, batch: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        from .errors import AllRejected

        try:
            return self._client.send_events(list(batch))  # type: ignore[no-any-return]
        except AllRejected as error:
            return error.problem

    def _count(self, batch: Sequence[Mapping[str, Any]], verdicts: Mapping[str, Any]) -> None:
        for verdict in verdicts.get("results", []):
            if verdict["status"] == "accepted":
                self.accepted += 1
            elif verdict["status"] == "duplicate":
                self.duplicate += 1
            elif self._on_rejected:
                self._on_rejected(batch[verdict["index"]], verdict)
            else:
                self.rejected.append({"event": batch[verdict["index"]], "verdict": verdict})

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._interval)
            self._wake.clear()
            if self._closed:
                return
            try:
                self.flush()
            except Exception as error:  # The events stay in the queue.
                if self._on_error:
                    self._on_error(error)
