"""New values for a params.yaml that people keep: nothing changes but these values, and the change can be reviewed.

In: the text of a params.yaml, values by key. Out: the new text with all comments and their places, and a diff.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping

from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter

Value = str | float | int | bool


def changed(text: str, values: Mapping[str, Value]) -> str:
    """`text` with `values` by key, such as train.lr or train.augment.erase, in their places."""

    class Null(RoundTripRepresenter):
        """Writes null where ruamel leaves a gap."""

    Null.add_representer(type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null"))
    yaml = YAML()
    yaml.Representer = Null
    yaml.preserve_quotes = True
    yaml.width = 4096  # ruamel would fold long lines
    found = yaml.load(text)
    for key, value in values.items():
        *sections, name = key.split(".")
        place = found
        for section in sections:
            place = place[section]
        place[name] = value
    out = io.StringIO()
    yaml.dump(found, out)
    return _only(text, out.getvalue())


def diff(before: str, after: str) -> list[str]:
    """Lines of a unified diff; empty where nothing changed."""
    found = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "params.yaml", "params.yaml", lineterm="", n=0
    )
    return list(found)


def _only(before: str, after: str) -> str:
    """`after`, but where lines differ in blanks alone those of `before`: ruamel moves comments behind longer values."""
    old, new = before.splitlines(), after.splitlines()
    kept: list[str] = []
    matcher = difflib.SequenceMatcher(None, [_tight(line) for line in old], [_tight(line) for line in new], False)
    for kind, first, last, start, end in matcher.get_opcodes():
        kept += old[first:last] if kind == "equal" else new[start:end]
    return "\n".join(kept) + "\n"


def _tight(line: str) -> str:
    return "".join(line.split())
