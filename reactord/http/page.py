"""What do we offer, for people? The OpenAPI document as one page of HTML that loads nothing from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
details { border-top: 1px solid var(--line); padding: .4rem 0; }
summary { cursor: pointer; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); border-radius: .3rem; }
.method { display: inline-block; width: 3.2rem; font-weight: 600; }
"""


def page(document: Mapping[str, Any]) -> str:
    """The page; everything in it is escaped."""
    info = document["info"]
    rows = "\n".join(
        _row(method, path, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(info["title"])}</title>'
        f"<style>{STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f'<p>{escape(info["description"])} The same for machines: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{rows}</html>"
    )


def _row(method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    name = f"<code><span class=method>{escape(method.upper())}</span>{escape(path)}</code>"
    parts = [f"<summary>{name} &nbsp;{escape(operation['summary'])}</summary>"]
    if parameters := operation.get("parameters"):
        named = "".join(f"<li><code>{escape(p['name'])}</code> in the {escape(p['in'])}</li>" for p in parameters)
        parts.append(f"<ul>{named}</ul>")
    if body := operation.get("requestBody"):
        parts += ["<p>It reads</p>", _schema(body["content"]["application/json"]["schema"], document)]
    for status, answer in operation["responses"].items():
        words = "It answers" if status == "200" else escape(answer["description"])
        parts.append(f"<p>{escape(status)}: {words}</p>")
        if status == "200":
            parts += [_schema(of.get("schema", {}), document) for of in answer["content"].values()]
    return f"<details>{''.join(parts)}</details>"


def _schema(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    if name := schema.get("$ref", "").rpartition("/")[2]:
        schema = document["components"]["schemas"][name]
    return f"<pre>{escape(json.dumps(schema, indent=1, ensure_ascii=False))}</pre>"
