"""The errors, under the name that older code imports them from."""

from comfyone.errors import (
    APIError,
    AuthenticationError,
    ComfyOneError,
    ConflictError,
    ConnectionError,
    InvalidRequestError,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobTimeoutError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    ValidationError,
)

__all__ = [
    "APIError",
    "AuthenticationError",
    "ComfyOneError",
    "ConflictError",
    "ConnectionError",
    "InvalidRequestError",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobTimeoutError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "ServerError",
    "ValidationError",
]
