"""Two plain pages for people, complete in themselves: what serves here, and how it is called."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

from components.serving.champion import Champion

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #1c2733 }
code, pre { background: #f2f4f6; padding: .1rem .3rem; border-radius: 4px }
pre { padding: .8rem; overflow-x: auto }
td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }
"""
EXAMPLES = """curl --data-binary @photo.jpg {address}/predict
curl -F files=@one.jpg -F files=@two.png {address}/predict
curl -H 'Content-Type: application/json' {address}/feedback \\
     -d '{{"request_id": "...", "item": 0, "label": "cat", "author": "ann"}}'"""


def index(champion: Champion) -> HTMLResponse:
    """What serves, or why nothing does."""
    model = champion.current
    if model is None:
        facts = f"<p><strong>Not ready.</strong> {escape(champion.trouble)}</p>"
    else:
        rows = {
            "Model": f"version {model.version} ({model.digest[:12]})",
            "Engine": f"{model.engine.target} {model.engine.precision}, {model.engine.provider}",
            "Classes": f"{len(model.card.classes)}: {', '.join(model.card.classes[:20])}",
            "Data": model.card.data_version,
        }
        facts = _table(rows)
    links = "".join(f'<li><a href="{path}">{path}</a>' for path in ("/docs", "/openapi.json", "/metrics", "/readyz"))
    return _page("visionloop", f"{facts}<ul>{links}</ul>")


def docs(openapi: Mapping[str, Any], address: str) -> HTMLResponse:
    """Every route with its sentence, from the OpenAPI description, and calls to copy."""
    routes = {
        f"{method.upper()} {path}": str(operation.get("description") or operation.get("summary"))
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    }
    examples = f"<pre>{escape(EXAMPLES.format(address=address))}</pre>"
    return _page("visionloop: routes", f"{_table(routes)}{examples}<p><a href='/openapi.json'>openapi.json</a></p>")


def _table(rows: Mapping[str, str]) -> str:
    return f"<table>{''.join(f'<tr><th>{escape(name)}<td>{escape(text)}' for name, text in rows.items())}</table>"


def _page(title: str, body: str) -> HTMLResponse:
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return HTMLResponse(f"{head}<h1>{title}</h1>{body}", headers=HEADERS)
