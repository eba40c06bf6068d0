"""The OpenAPI document and its page, made from the declarations that the routes are made from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from signalroom.web.endpoint import ROLES, Answer, Call, Endpoint, Param, Told
from signalroom.web.shapes import Field, Shape, every_shape, reference, schema

PATH = "/api/openapi.json"

_ERROR = Shape(
    "Error",
    "Why a request was not answered.",
    (
        Field("code", "string", "One word for programs."),
        Field("message", "string", "A sentence for people."),
        Field("requestId", "string", "The request, as the server's log names it."),
    ),
)
REFUSED = Shape("Refused", "The body of every error.", (Field("error", _ERROR, "What was wrong."),))
_ABOUT = (
    "Report views of agencies: jobs, history, refresh now. Times are UTC, `2026-11-20T12:00:00.000Z`. "
    "An agency's key sees that agency's things; for it everything else is not there (404)."
)
_OWN = "The endpoint asks its caller itself, as it says."


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the endpoints."""
    from signalroom import __version__

    paths: dict[str, dict[str, Any]] = {}
    shapes = [REFUSED]
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
        shapes += [told.shape for told in answers_of(one).values() if told.shape]
        shapes += [one.body] if one.body else []
    return {
        "openapi": "3.1.0",
        "info": {"title": "SignalRoom", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": {name: schema(shape) for name, shape in sorted(every_shape(shapes).items())},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of `signalroom keys create`."}
            },
        },
    }


def answers_of(endpoint: Endpoint) -> dict[int, Told]:
    """Return status -> answer of an endpoint, the refusals that come from its declaration among them."""
    shared: dict[int, str] = {400: "A parameter is unknown, repeated or out of bounds."}
    if ROLES[endpoint.access]:
        shared |= {401: "There is no valid key.", 429: "It was asked too often: Retry-After says for how long."}
        shared[503] = "It cannot be answered now: try again."
    if "{" in endpoint.path or endpoint.access in {"operate", "administer"}:
        shared[404] = "There is nothing here, or nothing that this key may see."
    if endpoint.method == "POST":
        shared[413] = "The body is too long."
    told = {status: Told(doc, REFUSED) for status, doc in shared.items()}
    given = {
        status: Told(one.doc, REFUSED) if status >= 400 and one.shape is None else one
        for status, one in endpoint.told.items()
    }
    return dict(sorted({**told, **given}.items()))


def _operation(one: Endpoint) -> dict[str, Any]:
    summary, _, rest = one.doc.partition(". ")
    made: dict[str, Any] = {"operationId": one.name, "summary": summary.rstrip(".")}
    if rest:
        made["description"] = rest
    made["parameters"] = [*(_in_path(name) for name in re.findall(r"{(\w+)}", one.path)), *map(_in_query, one.params)]
    if one.body:
        needed = not all(field.optional for field in one.body.fields)
        made["requestBody"] = {"required": needed, "content": {"application/json": {"schema": reference(one.body)}}}
    made["responses"] = {str(status): _response(told) for status, told in answers_of(one).items()}
    made["security"] = [{"key": []}] if ROLES[one.access] else []
    made["x-roles"] = sorted(ROLES[one.access])
    return made


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "maxLength": 255}}


def _in_query(one: Param) -> dict[str, Any]:
    bounds = {"type": "string", "maxLength": one.most} if one.least is None else {
        "type": "integer", "minimum": one.least, "maximum": one.most,
    }  # fmt: skip
    default = {} if one.default is None else {"default": one.default}
    return {"name": one.name, "in": "query", "description": one.doc, "schema": {**bounds, **default}}


def _response(told: Told) -> dict[str, Any]:
    if told.shape is None:
        return {"description": told.doc, "content": {told.media_type: {}}}
    return {
        "description": told.doc,
        "content": {told.media_type: {"schema": reference(told.shape, many=told.many)}},
    }


def text(endpoints: Sequence[Endpoint]) -> str:
    """Return the document as it is committed."""
    return json.dumps(document(endpoints), indent=2, ensure_ascii=False) + "\n"


def page(endpoints: Sequence[Endpoint]) -> str:
    """Return the reference page of the endpoints, in Markdown."""
    parts = [
        "# API\n",
        f"{_ABOUT}\n",
        "A key goes into the header `Authorization: Bearer sr_…`.\n",
        f"[openapi.json](openapi.json) is this page for programs; a running server answers it at `{PATH}`.\n",
        "Every answer has `X-Request-Id`. Every error is\n",
        '```json\n{"error": {"code": "not_found", "message": "There is nothing here.", "requestId": "5f1c…"}}\n```\n',
    ]
    for one in endpoints:
        parts += _section(one)
    shapes = [told.shape for one in endpoints for told in answers_of(one).values() if told.shape]
    shapes += [one.body for one in endpoints if one.body]
    for name, shape in sorted(every_shape(shapes).items()):
        parts += [f"## {name}\n", f"{shape.doc}\n", _fields(shape)]
    return "\n".join(parts)


def _section(one: Endpoint) -> Iterable[str]:
    roles = ", ".join(sorted(ROLES[one.access])) or (_OWN if one.access == "own" else "anybody")
    yield f"## `{one.method} {one.path}`\n"
    yield f"{one.doc}\n"
    yield f"Who: {roles}\n"
    if one.params:
        yield "| parameter | value | default | what it does |\n|---|---|---|---|"
        for param in one.params:
            value = f"up to {param.most} characters" if param.least is None else f"{param.least} to {param.most}"
            yield f"| `{param.name}` | {value} | {'' if param.default is None else param.default} | {param.doc} |"
        yield ""
    if one.body:
        yield f"Body: [{one.body.name}](#{one.body.name.lower()})\n"
    yield "| status | answer |\n|---|---|"
    for status, told in answers_of(one).items():
        link = (
            f" [{told.shape.name}](#{told.shape.name.lower()}){', a list' if told.many else ''}" if told.shape else ""
        )
        yield f"| {status} | {told.doc}{link} |"
    yield ""


def _fields(shape: Shape) -> str:
    lines = ["| field | type | what it is |", "|---|---|---|"]
    for one in shape.fields:
        kind = f"[{one.kind.name}](#{one.kind.name.lower()})" if isinstance(one.kind, Shape) else one.kind
        kind += " list" if one.many else ""
        kind += " or null" if one.null else ""
        kind += ", may be left out" if one.optional else ""
        values = f" One of {', '.join(f'`{choice}`' for choice in one.choices)}." if one.choices else ""
        lines.append(f"| `{one.name}` | {kind} | {one.doc}{values} |")
    return "\n".join(lines) + "\n"


def endpoint(everything: Sequence[Endpoint]) -> Endpoint:
    """Return the endpoint that answers the document of the others and of itself."""

    def answer(call: Call) -> Answer:
        del call
        return Answer(text((*everything, described)).encode())

    described = Endpoint(
        "GET", PATH, "openapi", "This API as an OpenAPI document.", "open", answer, {200: Told("The document.")}
    )
    return described
