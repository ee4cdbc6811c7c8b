"""What is to be told -> an e-mail: text and HTML, a chart, sample images, links.

In: a `Letter`. Out: an EmailMessage whose headers and markup no label and no file name can break: user text is escaped,
stripped of control characters and never in an address. When it is written is `components.monitoring.alerts`; sending
it is `components.monitoring.mail`.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from components.params import AlertParams

LONGEST_SUBJECT = 120  # characters
THUMBNAIL = 176  # px, shown at half this size


@dataclass(frozen=True)
class Letter:
    """One mail in plain words. `samples` are (image bytes of any kind we decode, caption)."""

    title: str
    lead: str
    points: Sequence[str] = ()
    chart: bytes | None = None  # PNG
    samples: Sequence[tuple[bytes, str]] = ()
    samples_title: str = "Some of the images"
    code: str = ""
    table: tuple[str, str] | None = None  # name and text of a CSV to attach
    links: Mapping[str, str] = field(default_factory=dict)


def compose(letter: Letter, params: AlertParams) -> EmailMessage:
    """The mail for everybody in `params.to`; alternative plain text comes first, pictures travel inside."""
    message = EmailMessage(policy=SMTP)
    message["From"] = params.sender
    message["To"] = ", ".join(params.to)
    message["Subject"] = plain(letter.title)[:LONGEST_SUBJECT]
    message.set_content(_text(letter))
    pictures = _pictures(letter)
    message.add_alternative(_html(letter, pictures), subtype="html")
    part = message.get_payload()[1]  # type: ignore[index]
    for cid, data in pictures.items():
        part.add_related(data, "image", "png", cid=f"<{cid}>", filename=f"{cid}.png")  # type: ignore[union-attr]
    if letter.table:
        name, text = letter.table
        message.add_attachment(text, subtype="csv", filename=name)
    return message


def plain(text: str) -> str:
    """`text` on one line, without control and direction-changing characters."""
    kept = (" " if unicodedata.category(each) in {"Zl", "Zp", "Cc"} else each for each in text)
    return "".join(each for each in kept if unicodedata.category(each) not in {"Cf", "Cs"}).strip()


def _text(letter: Letter) -> str:
    points = [f"- {plain(each)}" for each in letter.points]
    links = [f"{name}: {target}" for name, target in letter.links.items()]
    blocks = [plain(letter.title), plain(letter.lead), "\n".join(points), letter.code, "\n".join(links)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _pictures(letter: Letter) -> dict[str, bytes]:
    chart = {"chart": letter.chart} if letter.chart else {}
    return chart | {f"sample-{place}": thumbnail(data) for place, (data, _) in enumerate(letter.samples)}


def _html(letter: Letter, pictures: Mapping[str, bytes]) -> str:
    from jinja2 import Environment, FileSystemLoader

    templates = FileSystemLoader(Path(__file__).parent / "templates")
    page = Environment(loader=templates, autoescape=True, trim_blocks=True).get_template("letter.html")
    captions = [(f"sample-{place}", plain(caption)) for place, (_, caption) in enumerate(letter.samples)]
    return page.render(letter=letter, chart="chart" if "chart" in pictures else None, samples=captions)


def thumbnail(data: bytes) -> bytes:
    """A small PNG made anew from the pixels of `data`, so that nothing else in the file travels; grey if unreadable."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]) as image:
            image.draft("RGB", (THUMBNAIL, THUMBNAIL))
            small = image.convert("RGB")
    except Exception:  # Pillow raises seven kinds of error for bad files; a mail must not fail for one
        small = Image.new("RGB", (THUMBNAIL, THUMBNAIL), "#d0d7de")
    buffer = io.BytesIO()
    scale = THUMBNAIL / max(small.size)
    size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
    small.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR).save(buffer, "PNG")
    return buffer.getvalue()
