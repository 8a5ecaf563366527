"""Which requests are refused, and with which status? Each message ends with what to do next."""

from __future__ import annotations

from pydantic import ValidationError

from reactord.errors import BadInput, BadRequest

MAX_DETAILS = 10


class NotThere(BadInput):
    """404: what the path names is not there."""


class Conflict(BadInput):
    """409: it is there, and past what was asked."""


class Forbidden(BadInput):
    """403: not for who asked."""


class TooLarge(BadInput):
    """413: more than we take at once."""


class BadFields(BadRequest):
    """400: fields that are not what they must be, each with its place."""

    def __init__(self, invalid: ValidationError) -> None:
        found = [(".".join(map(str, one["loc"])), one["msg"]) for one in invalid.errors(include_input=False)]
        self.details = [f"`{where}`: {problem}" for where, problem in found[:MAX_DETAILS]]
        super().__init__(f"{self.details[0]}; correct it and send the request again")
