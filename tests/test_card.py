"""A model card says all that a runner of the model must know, and is read back as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.model.card import CardError, ModelCard, read_card

CARD = ModelCard(
    task="classification",
    arch="resnet9",
    classes=("Füchse", "<b>cat</b>"),
    size=32,
    fit="crop",
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    data_version="0123456789ab",
)


def test_a_card_is_read_back_as_it_was_written(tmp_path: Path):
    CARD.write(tmp_path / "model.json")
    assert read_card(tmp_path / "model.json") == CARD


def test_equal_cards_give_equal_bytes(tmp_path: Path):
    CARD.write(tmp_path / "one.json")
    CARD.write(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_card_gives_back_the_image_params():
    assert (CARD.image.size, CARD.image.fit, CARD.image.mean) == (32, "crop", (0.5, 0.5, 0.5))


def test_a_missing_card_says_what_to_run(tmp_path: Path):
    with pytest.raises(CardError, match="visionloop run"):
        read_card(tmp_path / "model.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"classes": ["a"]})])
def test_another_file_is_no_card(tmp_path: Path, text: str):
    (tmp_path / "model.json").write_text(text, encoding="utf-8")
    with pytest.raises(CardError, match=r"model\.json"):
        read_card(tmp_path / "model.json")
