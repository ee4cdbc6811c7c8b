"""The images of a request: its raw body, or the files of a multipart form.

In: a request whose body has not been read. Out: bytes and the client's file names. Whether the bytes are an image is
for the decoder to say, not for a Content-Type or a file name.
"""

from __future__ import annotations

from starlette.datastructures import UploadFile
from starlette.requests import Request

from components.serving.problems import Problem
from components.serving.recognition import Upload

MOST_FILES = 1000  # in one form
LONGEST_NAME = 255
EXPECTED = "Send the bytes of one image, or one or more files as multipart/form-data."


async def read_uploads(request: Request) -> list[Upload]:
    """At least one upload; raise Problem 400 when there is none."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _files(request)
    data = await request.body()
    if not data:
        raise Problem(400, "empty", f"The request has no body. {EXPECTED}")
    return [Upload(data)]


async def _files(request: Request) -> list[Upload]:
    async with request.form(max_files=MOST_FILES) as form:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise Problem(400, "no_file", f"The form has no file. {EXPECTED}")
        return [Upload(await file.read(), _plain(file.filename)) for file in files]


def _plain(name: str | None) -> str | None:
    """A file name that every database can keep."""
    return name.replace("\0", "").encode("utf-8", "replace").decode()[:LONGEST_NAME] if name else None
