"""What do we offer, for machines? The table of routes as an OpenAPI 3.1 document (spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from reactord.http.bodies import Said
from reactord.http.route import NAME, Route

REF = "#/components/schemas/{model}"
_PART = re.compile(r"\{(\w+)\}")
#: refusals that any route may answer with
OF_ALL = {
    400: "something in the request is not what it must be",
    401: "who comes from elsewhere needs the token",
    403: "not for who asked",
    421: "another host's name",
    503: "not now",
}
OF_PATHS = {404: "nothing has this name"}
OF_BODIES = {408: "the body came too slowly", 413: "too large", 415: "no JSON", 422: "not understood"}


class Refused(Said):
    """What every refusal looks like."""

    error: str = Field(description="what is wrong, and what to do next")
    details: list[str] = Field(description="the same for each field, where there are several")
    hint: str = Field(description="what to do next")


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Refused, "serialization")]
    for route in routes:
        models += [(model, "validation") for model in (route.takes, route.asks) if model]
        models += [(model, "serialization") for model in (_model_of(route.gives),) if model]
    known, schemas = models_json_schema(list(dict.fromkeys(models)), ref_template=REF)
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "reactord", "version": version, "description": "What makes the model better."},
        "paths": paths,
        "components": {"schemas": schemas.get("$defs", {})},
    }


def _operation(route: Route, known: dict[Any, Any]) -> dict[str, Any]:
    refused = {"application/json": {"schema": known[Refused, "serialization"]}}
    also = OF_ALL | (OF_PATHS if "{" in route.path else {}) | (OF_BODIES if route.takes else {})
    also |= {429: "too many submissions"} if route.costs else {}
    said = route.gives
    if model := _model_of(route.gives):
        said = known[model, "serialization"]
        said = {"type": "array", "items": said} if get_origin(route.gives) is list else said
    answers: dict[str, Any] = {"200": {"description": route.does, "content": {route.media: {"schema": said}}}}
    if route.upgrades:
        answers = {"101": {"description": "a WebSocket from here on"}}
        also |= {426: "no WebSocket was asked for"}
    answers |= {str(status): {"description": words, "content": refused} for status, words in also.items()}
    answers |= {
        str(status): {"description": words, "content": {"application/json": {"schema": {"type": "object"}}}}
        for status, words in route.also.items()
    }
    operation: dict[str, Any] = {"summary": route.does, "operationId": _name(route), "responses": answers}
    if parameters := [*_in_path(route), *_in_query(route)]:
        operation["parameters"] = parameters
    if route.takes:
        body = {"application/json": {"schema": known[route.takes, "validation"]}}
        operation["requestBody"] = {"content": body, "required": not route.or_nothing}
    return operation


def _name(route: Route) -> str:
    return f"{route.method.lower()}{route.path}".replace("/", "_").replace("{", "").replace("}", "")


def _in_path(route: Route) -> Iterable[dict[str, Any]]:
    schema = {"type": "string", "pattern": f"^{NAME}$"}
    return ({"name": name, "in": "path", "required": True, "schema": schema} for name in _PART.findall(route.path))


def _in_query(route: Route) -> Iterable[dict[str, Any]]:
    if route.asks is None:
        return
    schema = route.asks.model_json_schema()
    for name, of in schema.get("properties", {}).items():
        yield {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": of}


def _model_of(gives: Any) -> type[BaseModel] | None:  # noqa: ANN401 - a model, a list of one, or a schema
    """The model of an answer, or of what it is a list of."""
    one = get_args(gives)[0] if get_origin(gives) is list else gives
    return one if isinstance(one, type) and issubclass(one, BaseModel) else None
