"""The Python SDK of AI Hub Analytics, version << version >>.

    from aihub_analytics import Client

    client = Client("https://analytics.example", "ah_live_…")
    client.send_usage(model="gpt-4o", input_tokens=812, output_tokens=96)
"""

from . import errors, models
from .client import Client
from .errors import ApiError, ConnectionFailed
from .events import EventQueue, usage_event
from .webhooks import InvalidSignature, verify_webhook

__all__ = [
    "ApiError",
    "Client",
    "ConnectionFailed",
    "EventQueue",
    "InvalidSignature",
    "errors",
    "models",
    "usage_event",
    "verify_webhook",
]
__version__ = "<< version >>"
