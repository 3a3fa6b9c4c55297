"""What goes wrong in the console alone."""

from __future__ import annotations

from gateway.errors import RequestError


class SignedOut(RequestError):
    """Nobody is signed in, or the session is over: the browser is sent to sign in."""

    status = 401
    code = "signed_out"
    type = "authentication_error"


class ForgedForm(RequestError):
    """The form does not carry the session's token: it is of another site, or of an earlier session."""

    status = 403
    code = "forged_form"
    type = "permission_error"
