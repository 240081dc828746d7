"""Errors: one class for each code of the API."""

import json
from typing import Any, Dict, Mapping, Optional, Type


class ConnectionFailed(Exception):
    """There was no answer."""


class ApiError(Exception):
    """The API refused a request. `code` is stable: decide by it, or by the class."""

    code: Optional[str] = None

    def __init__(self, status: int, problem: Mapping[str, Any], headers: Any) -> None:
        self.status = status
        #: The whole answer, by RFC 9457.
        self.problem = dict(problem)
        self.code = problem.get("code")
        self.detail: Optional[str] = problem.get("detail")
        #: Names the request in our logs.
        self.request_id: Optional[str] = headers.get("X-Request-Id") or problem.get("instance")
        self.retry_after = _seconds(headers.get("Retry-After"))
        super().__init__(f"{status} {self.code}: {self.detail or problem.get('title')}")


def _seconds(text: Optional[str]) -> Optional[float]:
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None

<% for code in codes %>

class << code.pascal >>(ApiError):
    """`<< code.code >>`"""

<% endfor %>

BY_CODE: Dict[str, Type[ApiError]] = {
<% for code in codes %>
    "<< code.code >>": << code.pascal >>,
<% endfor %>
}


def error_of(status: int, headers: Any, body: bytes) -> ApiError:
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {"title": body[:200].decode(errors="replace")}
    if not isinstance(problem, dict):
        problem = {"title": str(problem)}
    return BY_CODE.get(str(problem.get("code")), ApiError)(status, problem, headers)
