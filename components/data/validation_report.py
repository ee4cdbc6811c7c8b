"""A verdict -> one HTML file that needs nothing else: what was asked, what failed, and the pictures that failed it.

In: the verdict, the tables of refused and disputed files, the shards. Out: report.html, without scripts or links to
anywhere; names and labels come from strangers and are escaped. (Great Expectations' own pages load scripts and a
beacon from the network.)
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from components.data.images import BadImage, to_rgb8
from components.data.shards import ShardError, ShardReader
from components.params import IngestParams

if TYPE_CHECKING:
    from components.data.validate import Verdict

TEMPLATE = "templates/validation.html"
SIDE = 112  # px of a thumbnail's longer side; shown at half of that and more on dense screens
ORDER = ("critical", "warning", "info")
ROWS = 200  # of the lists of refused and disputed files; all are in the tables
DISPUTED = 24  # disputed images that are pictured


@dataclass(frozen=True)
class Picture:
    """An image on the page: `source` is a data URL, empty where it cannot be drawn."""

    name: str
    source: str


class Pictures:
    """Thumbnails of the images in `manifest`, by image_id."""

    def __init__(self, manifest: pa.Table, shards: Path, params: IngestParams) -> None:
        self.manifest, self.reader, self.params = manifest, ShardReader(shards), params

    def of(self, image_ids: Iterable[str]) -> dict[str, Picture]:
        """The pictures of those of `image_ids` that the manifest has."""
        wanted = set(image_ids)
        columns = ("image_id", "source_path", "shard", "row")
        if not wanted or not set(columns) <= set(self.manifest.column_names):
            return {}
        rows = zip(*(self.manifest[name].to_pylist() for name in columns), strict=True)
        return {
            str(key): Picture(name or "", self._draw(shard, row))
            for key, name, shard, row in rows
            if str(key) in wanted
        }

    def _draw(self, shard: str | None, row: int | None) -> str:
        from PIL import Image

        try:
            decoded = to_rgb8(self.reader.read(shard or "", -1 if row is None else row), self.params)
        except (BadImage, ShardError):
            return ""
        image = Image.fromarray(decoded.rgb)
        image.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=82)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def write_report(path: Path, verdict: Verdict, refused: pa.Table, disputed: pa.Table, pictures: Pictures) -> None:
    """Draw `verdict` into the file `path`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    claims = _claims(disputed)
    named = {image_id for each in verdict.findings if not each.passed for image_id in each.sample}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        verdict=verdict,
        failed=sorted(
            (each for each in verdict.findings if not each.passed), key=lambda each: ORDER.index(each.severity)
        ),
        passed=[each for each in verdict.findings if each.passed],
        largest=max(verdict.classes.values(), default=1),
        refused=refused.slice(0, ROWS).to_pylist(),
        claims=dict(list(claims.items())[:DISPUTED]),
        pictures=pictures.of(named | set(list(claims)[:DISPUTED])),
    )
    path.write_text(page, encoding="utf-8", errors="replace")


def _claims(disputed: pa.Table) -> Mapping[str, list[Mapping[str, str]]]:
    """What is said of each disputed image."""
    found = defaultdict(list)
    for row in disputed.to_pylist():
        found[row["image_id"]].append(row)
    return found
