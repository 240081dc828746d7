"""The client: how requests are sent, repeated and read."""

import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from .errors import ApiError, ConnectionFailed, error_of
from .events import EventQueue, usage_event
from .operations import Operations

VERSION = "<< version >>"

# Answers that may be other when asked again.
RETRIED = (408, 429, 500, 502, 503, 504)


class Client(Operations):
    """Calls the API with a key.

    A request without an answer, and one with a status of `RETRIED`, is sent again up to `retries` times, after
    pauses that double, or as long as `Retry-After` says. Requests that change something carry the same
    `Idempotency-Key` in all attempts, so that nothing is done twice.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        pause: float = 0.5,
        pause_max: float = 30.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._timeout = timeout
        self._retries = retries
        self._pause = pause
        self._pause_max = pause_max
        self._organization: Optional[str] = None

    def __repr__(self) -> str:
        return f"Client({self.base_url!r})"

    def send_usage(self, *, id: Optional[str] = None, source: Optional[str] = None, **data: Any) -> Any:
        """Sends one `usage.request`: its members are columns, such as `model` and `input_tokens`."""
        return self.send_events([usage_event(source or self.default_source(), id=id, **data)])

    def default_source(self) -> str:
        """`/organizations/{id}/python` for an organization's own key, else `/python`."""
        if self._organization is None:
            self._organization = self.get_me().get("organization_id") or ""
        return f"/organizations/{self._organization}/python" if self._organization else "/python"

    def event_queue(self, **options: Any) -> EventQueue:
        """Collects events and sends them in batches, also when the program ends."""
        return EventQueue(self, **options)

    # ---- how it is done ----

    def _pages(
        self, ask: Any, items: str, following: str, parameter: str, arguments: Dict[str, Any]
    ) -> Iterator[Any]:
        while True:
            page = ask(**arguments)
            yield from page.get(items) or []
            cursor = page.get(following)
            if cursor is None or not page.get("has_more", True):
                return
            arguments[parameter] = cursor

    def _call(
        self,
        method: str,
        path: str,
        *,
        path_parameters: Sequence[Tuple[str, Any]] = (),
        query: Optional[Mapping[str, Any]] = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        for name, value in path_parameters:
            path = path.replace("{" + name + "}", urllib.parse.quote(str(value), safe=""))
        given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        url = self.base_url + path + ("?" + urllib.parse.urlencode(given) if given else "")
        headers = {
            "Authorization": "Bearer " + self._api_key,
            "Accept": "application/json, */*;q=0.5",
            "User-Agent": "aihub-analytics-python/" + VERSION,
        }
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else (body if isinstance(body, str) else _json(body)).encode()
            headers["Content-Type"] = content_type
        if method in ("POST", "PATCH"):
            headers["Idempotency-Key"] = '"' + str(uuid.uuid4()) + '"'
        return self._attempts(method, url, headers, data)

    def _attempts(self, method: str, url: str, headers: Dict[str, str], data: Optional[bytes]) -> Any:
        attempt = 0
        while True:
            try:
                return self._once(method, url, headers, data)
            except ApiError as error:
                may_repeat = error.status in RETRIED or error.code == "request_in_progress"
                if not may_repeat or attempt >= self._retries:
                    raise
                pause = error.retry_after
            except ConnectionFailed:
                if attempt >= self._retries:
                    raise
                pause = None
            if pause is None:
                pause = self._pause * 2**attempt * random.uniform(0.5, 1.0)
            time.sleep(min(pause, self._pause_max))
            attempt += 1

    def _once(self, method: str, url: str, headers: Dict[str, str], data: Optional[bytes]) -> Any:
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                return _read(answer.headers.get_content_type(), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise error_of(error.code, error.headers, error.read()) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise ConnectionFailed(f"{method} {url}: {error}") from error


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(_text(one) for one in value)
    return str(value)


def _read(content_type: str, data: bytes) -> Any:
    if not data:
        return None
    if content_type == "application/json" or content_type.endswith("+json"):
        return json.loads(data)
    if content_type.startswith("text/") or content_type in ("application/x-ndjson", "application/yaml"):
        return data.decode()
    return data
