"""A folder for each label, alone or inside train/, val/ and test/.

In: a folder. Out: every file below a label's folder, sorted by name; deeper folders belong to the label above them.
Hidden and system files are passed over, symbolic links are followed, and no folder is entered twice for one label.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.data.annotations import Annotation, one_label
from components.data.sources import SPLITS, Found, Read, SourceError, clean_label, heard, printable
from components.data.sources.listing import entries, files_below, is_picture


@dataclass(frozen=True)
class FolderSource:
    root: Path
    read: Read = one_label

    def files(self) -> Iterator[Found]:
        """See `Source`. Pictures beside the label folders are found without a label."""
        empty = True
        for found in self._files():
            empty = False
            yield found
        if empty:
            raise SourceError(
                f"No files in {printable(str(self.root))}: expected {self.root.name}/<label>/<image>, "
                f"or {self.root.name}/train/<label>/<image> with val/ and test/ beside it."
            )

    def _files(self) -> Iterator[Found]:
        folders, files = entries(self.root)
        yield from self._unlabelled(files, split=None)
        if not self._is_split(folders):
            for folder in folders:
                yield from self._labelled(folder, split=None)
            return
        for folder in folders:
            split = SPLITS[folder.name.lower()]
            labels, files = entries(Path(folder.path))
            yield from self._unlabelled(files, split)
            for label in labels:
                yield from self._labelled(label, split)

    def _is_split(self, folders: list[os.DirEntry[str]]) -> bool:
        """Whether `folders` are train, val and test. One such name among others is a label: a train is a thing."""
        splits = [folder for folder in folders if folder.name.lower() in SPLITS]
        others = [printable(folder.name) for folder in folders if folder not in splits]
        deep = any(entries(Path(folder.path))[0] for folder in splits)
        if len(splits) > 1 and (others or not deep):
            beside = f"beside them {', '.join(others[:5])}" if others else "no label folders inside"
            names = ", ".join(folder.name for folder in splits)
            raise SourceError(
                f"{printable(str(self.root))} holds {names}, and {beside}; expected "
                "train/<label>/<image>, val/<label>/<image>, test/<label>/<image>, or label folders alone."
            )
        return bool(splits) and not others and deep

    def _unlabelled(self, files: list[os.DirEntry[str]], split: str | None) -> Iterator[Found]:
        """Pictures where a label's folder was expected; other files there (a readme, a licence) mean nothing."""
        for file in files:
            if is_picture(file.name):
                name = printable(file.path[len(str(self.root)) + 1 :])
                yield Found(Path(file.path), name, None, split, said_by=f"{printable(self.root.name)}/{name}")

    def _labelled(self, folder: os.DirEntry[str], split: str | None) -> Iterator[Found]:
        label = clean_label(folder.name)
        said = Annotation(labels=(label,) if label else None)
        # a link back up would put other labels' files under this one
        parents = [parent for parent in Path(folder.path).parents if parent.is_relative_to(self.root)]
        for file in files_below(Path(folder.path), seen=parents):
            name = printable(file.path[len(str(self.root)) + 1 :])
            yield heard(Path(file.path), name, said, self.read, f"{self.root.name}/{name}", split)
