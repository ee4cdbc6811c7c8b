"""What is asked of the data: the manifest suite before the split, the splits suite after it, and the tables they read.

In: the tables. Out: one pandas frame a suite, with a row an image and a plain column for whatever is asked, and the
list of checks. Critical: training on this data would be wrong. Warning: someone should look. Nothing is judged here;
`components.data.expectations` carries the checks out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from components.data.annotations import Shown, alone
from components.data.duplicates import groups
from components.data.expectations import Check, Severity
from components.data.tables import MANIFEST, STATISTICS
from components.params import IngestParams, SplitParams, ValidateParams

if TYPE_CHECKING:
    import pandas as pd

DARK = 0.32  # of 99th percentile of brightness; this and the next three are CleanVision's (0.3.7) thresholds
BRIGHT = 0.95  # of the 5th percentile
LOW_ENTROPY = 3.0  # bits
ODD_ASPECT = 0.35  # short side / long side
BLURRY = 0.1  # of the median sharpness
MEASURED = (*STATISTICS, "dark", "bright", "width", "height", "bytes", "phash", "thumbnail", "shard", "row")
USED = ("train", "val", "test")


def manifest_frame(
    manifest: pa.Table,
    labels: pa.Table,
    conflicts: pa.Table,
    quarantine: pa.Table,
    previous: int | None,
    duplicates: SplitParams,
    shown: Shown = alone,
) -> pd.DataFrame:
    """A row for each image that is not in conflict, near-duplicates next to each other.

    `previous` is how many images the last version that passed had, if there was one.
    """
    import pandas as pd

    in_conflict = set(conflicts["image_id"].to_pylist())
    kept = manifest.filter(pa.array([each not in in_conflict for each in manifest["image_id"].to_pylist()], pa.bool_()))
    label = dict(zip(labels["image_id"].to_pylist(), labels["label"].to_pylist(), strict=True))
    frame = kept.drop_columns(["source_path", "source_split"]).to_pandas()
    frame["label"] = frame["image_id"].map(label)
    sizes = class_sizes(frame["label"].dropna(), shown)
    frame["images_of_class"] = [_rarest(label, sizes, shown) for label in frame["label"]]
    frame["measured"] = frame[list(MEASURED)].notna().all(axis=1)
    frame["dark_image"] = frame["dark"] < DARK
    frame["bright_image"] = frame["bright"] > BRIGHT
    frame["low_entropy"] = frame["entropy"] < LOW_ENTROPY
    frame["blurry"] = frame["sharpness"] < BLURRY * frame["sharpness"].median()
    frame["odd_aspect"] = frame[["width", "height"]].min(axis=1) < ODD_ASPECT * frame[["width", "height"]].max(axis=1)
    frame["rotated"] = frame["orientation"] != 1
    frame["group"] = _near_duplicates(kept, duplicates)
    real = frame["origin"] != "synthetic"  # made images share their backgrounds
    frame["near_duplicate"] = real & (frame["group"].map(frame.loc[real, "group"].value_counts()) > 1)
    whole = {
        "classes": len(sizes),
        "class_ratio": min(sizes.values()) / max(sizes.values()) if sizes else float("nan"),
        "quarantine_share": quarantine.num_rows / max(quarantine.num_rows + manifest.num_rows, 1),
        "conflicts": len(in_conflict),
        "growth": manifest.num_rows / previous if previous else 1.0,
    }
    whole_table = pd.DataFrame(whole, index=frame.index)
    return pd.concat([frame, whole_table], axis=1).sort_values(["group", "image_id"], ignore_index=True)


def class_sizes(labels: Iterable[str], shown: Shown = alone) -> Counter[str]:
    """How many of the labelled images show each class."""
    return Counter(name for label in labels for name in shown(label))


def _rarest(label: str | None, sizes: Mapping[str, int], shown: Shown) -> float:
    """Images of the rarest class that an image shows; NaN where it shows none."""
    return min((sizes[name] for name in shown(label)), default=float("nan")) if isinstance(label, str) else float("nan")


def _near_duplicates(manifest: pa.Table, params: SplitParams) -> list[str]:
    """A group for each image; everyone alone where there is nothing to compare (which is a critical finding)."""
    if manifest["phash"].null_count or manifest["thumbnail"].null_count:
        return [str(row) for row in range(manifest.num_rows)]
    return groups(manifest, params).names


def schema_suite() -> list[Check]:
    """Asked of the manifest before anything is computed from it."""
    says = "The manifest has the columns of this version of visionloop, and no others"
    kind = "ExpectTableColumnsToMatchSet"
    return [_critical("schema", says, "Ingest again.", kind, column_set=MANIFEST.names, exact_match=True)]


def manifest_suite(params: ValidateParams, ingest: IngestParams) -> list[Check]:
    """Asked of `manifest_frame`."""
    return [
        _critical(
            "images",
            f"At least {params.min_images:,} images",
            "Ingest more, or lower validate.min_images.",
            "ExpectTableRowCountToBeBetween",
            min_value=params.min_images,
        ),
        _filled("image_id", "No image without an image_id", "Ingest again."),
        _critical(
            "measured",
            "Every image is measured in full",
            "Ingest again.",
            "ExpectColumnValuesToBeInSet",
            column="measured",
            value_set=[True],
        ),
        _critical("unique", "No image twice", "Ingest again.", "ExpectColumnValuesToBeUnique", column="image_id"),
        _critical(
            "format",
            f"Every image is {', '.join(ingest.formats)}",
            "Convert the others, or add their format to ingest.formats.",
            "ExpectColumnValuesToBeInSet",
            column="format",
            value_set=list(ingest.formats),
        ),
        _filled("label", "No image without a label", "Ingest them from a folder or a table that labels them."),
        _critical(
            "classes",
            f"At least {params.min_classes} classes",
            "Ingest images of another class: one label alone teaches nothing.",
            "ExpectColumnMaxToBeBetween",
            column="classes",
            min_value=params.min_classes,
        ),
        _critical(
            "images_per_class",
            f"At least {params.min_images_per_class} images of every class",
            "Ingest more of these classes, take them out, or lower validate.min_images_per_class.",
            "ExpectColumnValuesToBeBetween",
            column="images_of_class",
            min_value=params.min_images_per_class,
        ),
        Check(
            "quarantine",
            "critical",
            f"At most {ingest.max_bad_share:.1%} of all files in quarantine",
            "Mend or remove the files listed there and ingest again, or raise ingest.max_bad_share.",
            "ExpectColumnMaxToBeBetween",
            {"column": "quarantine_share", "max_value": ingest.max_bad_share},
            share=True,
        ),
        _number("conflicts", "No image under several labels", high=0),
        _number(
            "growth", f"At most {params.max_growth:g} times the images of the last version", high=params.max_growth
        ),
        _number(
            "class_ratio",
            f"The smallest class has at least {params.min_class_ratio:.0%} of the largest one's images",
            low=params.min_class_ratio,
            share=True,
        ),
        _share("dark_image", "warning", "dark: hardly a pixel is bright", params.max_dark_share),
        _share("bright_image", "warning", "overexposed: hardly a pixel is dark", params.max_bright_share),
        _share("low_entropy", "warning", "nearly blank", params.max_low_entropy_share),
        _share("blurry", "warning", "blurry: under a tenth of the median sharpness", params.max_blurry_share),
        _share("odd_aspect", "warning", "long and narrow", params.max_odd_aspect_share),
        _share("near_duplicate", "warning", "near-duplicates of another", params.max_duplicate_share),
        _share("rotated", "info", "turned by EXIF, which other programs may not heed", 0.0),
    ]


def splits_frame(splits: pa.Table, labels: pa.Table, shown: Shown = alone) -> pd.DataFrame:
    """A row for each row of `splits` and for each labelled image without one."""
    import pandas as pd

    rows = splits.select(["image_id", "split", "group"]).to_pandas()
    frame = rows.merge(labels.select(["image_id", "label"]).to_pandas(), how="outer", on="image_id")
    used = frame[frame["split"].isin(USED)]
    splits_of: defaultdict[str, set[str]] = defaultdict(set)
    for label, name in zip(used["label"], used["split"], strict=True):
        for each in shown(label) if isinstance(label, str) else ():
            splits_of[each].add(name)
    counts = {name: len(found) for name, found in splits_of.items()}
    frame["splits_of_class"] = [_rarest(label, Counter(counts), shown) for label in frame["label"]]
    frame["splits_of_group"] = frame["group"].map(used.groupby("group")["split"].nunique())
    return pd.DataFrame(frame)


def splits_suite() -> list[Check]:
    """Asked of `splits_frame`."""
    again = (
        "If data/splits.parquet was changed by hand, `dvc checkout data/splits.parquet` brings the last good one back."
    )
    few = "Ingest more images of these classes, or take them out."
    known = [*USED, "left_out"]
    between = "ExpectColumnValuesToBeBetween"
    return [
        _critical("rows", "There are images", few, "ExpectTableRowCountToBeBetween", min_value=1),
        _filled("split", "Every labelled image has a split", again),
        _critical(
            "known_split",
            "Every split is train, val, test or left_out",
            again,
            "ExpectColumnValuesToBeInSet",
            column="split",
            value_set=known,
        ),
        _critical("one_split", "No image in two splits", again, "ExpectColumnValuesToBeUnique", column="image_id"),
        _critical(
            "classes_in_splits",
            "Every class is in train, val and test",
            few,
            between,
            column="splits_of_class",
            min_value=len(USED),
        ),
        _critical(
            "groups_apart",
            "No near-duplicates in two of train, val and test",
            again,
            between,
            column="splits_of_group",
            max_value=1,
        ),
    ]


def _critical(name: str, says: str, advice: str, expectation: str, **arguments: object) -> Check:
    return Check(name, "critical", says, advice, expectation, arguments)


def _filled(column: str, says: str, advice: str) -> Check:
    return _critical(f"{column}_filled", says, advice, "ExpectColumnValuesToNotBeNull", column=column)


def _share(column: str, severity: Severity, what: str, largest: float) -> Check:
    says = f"At most {largest:.1%} of the images are {what}" if largest else f"No image is {what}"
    arguments = {"column": column, "value_set": [False], "mostly": 1 - largest}
    return Check(column, severity, says, "", "ExpectColumnValuesToBeInSet", arguments)


def _number(column: str, says: str, low: float | None = None, high: float | None = None, share: bool = False) -> Check:
    """A number about the whole table, the same in every row of a column."""
    arguments = {"column": column, "min_value": low, "max_value": high}
    return Check(column, "warning", says, "", "ExpectColumnMaxToBeBetween", arguments, share)
