"""The error tree. Each class is one row of the README's error table: its HTTP status and its stable `code`.

WardgateError
|- RequestError                 the caller's mistake
|  |- InvalidJSON               400 invalid_json
|  |- InvalidRequest            400 invalid_request
|  |- SystemMessageRefused      400 system_message_refused
|  |- UnknownKey                401 invalid_api_key
|  |- ModelNotAllowed           403 model_not_allowed
|  |- UnknownModel              404 model_not_found
|  |- UnknownPath               404 unknown_path
|  |- MethodNotAllowed          405 method_not_allowed
|  |- BodyTimeout               408 request_timeout
|  `- BodyTooLarge              413 body_too_large
|- ContentFiltered              400 content_filter      on_block: error
|- UpstreamError                the model server's fault
|  |- UpstreamUnavailable       503 upstream_unavailable
|  |- UpstreamTimeout           504 upstream_timeout
|  |- UpstreamBroken            502 upstream_broken     cut, half a frame, not JSON, too large
|  `- UpstreamRefused           the upstream's own status and body, handed on
|- FlagNotDurable               503 flag_log_unavailable
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


class UnknownKey(RequestError):
    status = 401
    code = "invalid_api_key"
    type = "authentication_error"


class ModelNotAllowed(RequestError):
    status = 403
    code = "model_not_allowed"
    type = "permission_error"


class UnknownModel(RequestError):
    status = 404
    code = "model_not_found"


class UnknownPath(RequestError):
    status = 404
    code = "unknown_path"


class MethodNotAllowed(RequestError):
    status = 405
    code = "method_not_allowed"


class BodyTimeout(RequestError):
    status = 408
    code = "request_timeout"


class BodyTooLarge(RequestError):
    status = 413
    code = "body_too_large"


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


class ClassifierUnavailable(WardgateError):
    """The shipped classifier is asked directly, and has more to do than it may queue."""

    status = 503
    code = "classifier_unavailable"
