"""The error tree. Each class is one row of the README's error table: its HTTP status and its stable `code`.

WardgateError
|- RequestError                 the caller's mistake
|  |- InvalidJSON               400 invalid_json
|  |- InvalidRequest            400 invalid_request
|  |- SystemMessageRefused      400 system_message_refused
|  |- Unjudged                  400 unjudged
|  |- MediaRefused              400 media_refused
|  |- UnknownKey                401 invalid_api_key
|  |- ModelNotAllowed           403 model_not_allowed
|  |- RoleNotAllowed            403 role_not_allowed
|  |- UnknownModel              404 model_not_found
|  |- UnknownPolicy             404 policy_not_found
|  |- UnknownPath               404 unknown_path
|  |- PreviousResponseNotFound  404 previous_response_not_found
|  |- MethodNotAllowed          405 method_not_allowed
|  |- BodyTimeout               408 request_timeout
|  |- IdempotencyMismatch       409 idempotency_mismatch
|  |- IdempotencyInProgress     409 idempotency_in_progress
|  |- BodyTooLarge              413 body_too_large
|  `- RateLimited               429 rate_limit_exceeded
|- ContentFiltered              400 content_filter      on_block: error
|- UpstreamError                the model server's fault
|  |- UpstreamUnavailable       503 upstream_unavailable
|  |- UpstreamTimeout           504 upstream_timeout
|  |- UpstreamBroken            502 upstream_broken     cut, half a frame, not JSON, too large
|  `- UpstreamRefused           the upstream's own status and body, handed on
|- FlagNotDurable               503 flag_log_unavailable
|- LimiterUnavailable           503 limiter_unavailable
`- ClassifierUnavailable        503 classifier_unavailable
"""

from __future__ import annotations

from typing import Any


class WardgateError(Exception):
    """Something the client is told of, in OpenAI's error body (https://platform.openai.com/docs/guides/error-codes)."""

    status = 500
    code = "internal_error"
    type = "server_error"

    def __init__(self, message: str, *, param: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class RequestError(WardgateError):
    status = 400
    type = "invalid_request_error"


class InvalidJSON(RequestError):
    code = "invalid_json"


class InvalidRequest(RequestError):
    code = "invalid_request"


class SystemMessageRefused(RequestError):
    code = "system_message_refused"


class Unjudged(RequestError):
    """No guard can read what was sent, and the policy wants it read."""

    code = "unjudged"


class MediaRefused(RequestError):
    """An image, audio, video or file that the policy's `media` does not let through."""

    code = "media_refused"


class UnknownKey(RequestError):
    status = 401
    code = "invalid_api_key"
    type = "authentication_error"


class ModelNotAllowed(RequestError):
    status = 403
    code = "model_not_allowed"
    type = "permission_error"


class RoleNotAllowed(RequestError):
    status = 403
    code = "role_not_allowed"
    type = "permission_error"


class UnknownModel(RequestError):
    status = 404
    code = "model_not_found"


class UnknownReview(RequestError):
    status = 404
    code = "review_not_found"


class UnknownPolicy(RequestError):
    """None of that name, or none that the caller's models would lead to: the same to him."""

    status = 404
    code = "policy_not_found"


class UnknownPath(RequestError):
    status = 404
    code = "unknown_path"


class PreviousResponseNotFound(RequestError):
    """Nobody's, or somebody else's: whoever asks is not told which."""

    status = 404
    code = "previous_response_not_found"


class MethodNotAllowed(RequestError):
    status = 405
    code = "method_not_allowed"


class BodyTimeout(RequestError):
    status = 408
    code = "request_timeout"


class IdempotencyMismatch(RequestError):
    """The key of an earlier request, with another one."""

    status = 409
    code = "idempotency_mismatch"
    type = "idempotency_error"


class IdempotencyInProgress(RequestError):
    """The earlier request with this key has yet to be answered."""

    status = 409
    code = "idempotency_in_progress"
    type = "idempotency_error"


class BodyTooLarge(RequestError):
    status = 413
    code = "body_too_large"


class RateLimited(RequestError):
    """The tenant has used up one of its limits."""

    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"


class ContentFiltered(WardgateError):
    """A prompt or answer that a guard blocked, under `on_block: error`: Azure's error body."""

    status = 400
    code = "content_filter"
    type = "invalid_request_error"

    def __init__(self, message: str, *, result: dict[str, Any], param: str = "prompt") -> None:
        super().__init__(message, param=param)
        self.result = result

    def body(self) -> dict[str, Any]:
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": self.result}
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
            "status": self.status,
            "innererror": inner,
        }
        return {"error": error}


class UpstreamError(WardgateError):
    status = 502
    type = "upstream_error"


class UpstreamUnavailable(UpstreamError):
    status = 503
    code = "upstream_unavailable"


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class UpstreamBroken(UpstreamError):
    code = "upstream_broken"


class UpstreamRefused(UpstreamError):
    """The upstream answered with an error of its own: its status and OpenAI body are kept."""

    code = "upstream_error"

    def __init__(self, status: int, body: dict[str, Any], *, headers: dict[str, str] | None = None) -> None:
        super().__init__("The upstream refused the request.", headers=headers)
        self.status = status
        self.upstream_body = body

    def body(self) -> dict[str, Any]:
        return self.upstream_body


class FlagNotDurable(WardgateError):
    """A flagged exchange could be kept neither in Redis nor in the spool; nothing of it may leave."""

    status = 503
    code = "flag_log_unavailable"


class LimiterUnavailable(WardgateError):
    """Nobody can tell whether the limits leave room, and `on_limiter_failure` is `block`."""

    status = 503
    code = "limiter_unavailable"


class ClassifierUnavailable(WardgateError):
    """The shipped classifier is asked directly, and has more to do than it may queue."""

    status = 503
    code = "classifier_unavailable"


class UnknownCase(RequestError):
    status = 404
    code = "case_not_found"


class StaleLease(RequestError):
    """The lease has ended, or somebody else has one."""

    status = 409
    code = "stale_lease"


class NotClaimable(RequestError):
    status = 409
    code = "not_claimable"


class NotUndoable(RequestError):
    status = 409
    code = "not_undoable"
