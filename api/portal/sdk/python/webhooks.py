"""Webhooks: whether a request is ours, by Standard Webhooks 1.0."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any, Mapping, Optional, Sequence, Union


class InvalidSignature(Exception):
    """The request is not ours, or too old."""


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secret: Union[str, Sequence[str]],
    *,
    tolerance: int = 300,
    now: Optional[float] = None,
) -> Any:
    """The event in a body, if one of the secrets signed it in the last `tolerance` seconds.

    Give the bytes as they came. `webhook-id` is the same for all attempts of a delivery: handle each once.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp, signatures = (
            lower["webhook-id"],
            lower["webhook-timestamp"],
            lower["webhook-signature"],
        )
        age = abs((time.time() if now is None else now) - int(timestamp))
    except (KeyError, ValueError) as error:
        raise InvalidSignature(f"a header is missing or no number: {error}") from None
    if age > tolerance:
        raise InvalidSignature(f"it is {int(age)} seconds old or ahead")
    signed = id.encode() + b"." + timestamp.encode() + b"." + body
    for one in [secret] if isinstance(secret, str) else secret:
        key = base64.b64decode(one[6:] if one.startswith("whsec_") else one)
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for signature in signatures.split():
            version, _, value = signature.partition(",")
            if version == "v1" and hmac.compare_digest(value.encode(), expected.encode()):
                return json.loads(body)
    raise InvalidSignature("no signature fits")
