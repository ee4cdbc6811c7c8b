"""params.yaml is read whole and strictly: a typing error never becomes a silent default."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from components.params import Params, ParamsError, load_params
from components.workspace import TEMPLATE

GIVEN = (TEMPLATE / "params.yaml").read_text(encoding="utf-8")
SECTIONS = sorted(field.name for field in dataclasses.fields(Params))


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def changed(old: str, new: str) -> str:
    assert old in GIVEN, f"{old!r} is not in params.yaml any more"
    return GIVEN.replace(old, new, 1)


def problem_with(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ParamsError) as error:
        load_params(written(folder, text))
    return str(error.value)


def test_the_params_that_init_writes_are_valid(tmp_path):
    params = load_params(written(tmp_path, GIVEN))
    assert (params.task, params.image.size, params.compile.gates["int8"].min_agreement) == ("classification", 96, 0.97)


def test_every_mistake_is_named_at_once_by_its_key(tmp_path):
    text = changed("size: 96", "size: big").replace("epochs: 20", "epochs: 0")
    problem = problem_with(tmp_path, text.replace("optimizer: adamw", "optimizer: adm"))
    assert "has 3 problem(s)" in problem
    assert "image.size: " in problem
    assert "'big'" in problem
    assert "train.epochs: " in problem
    assert "train.optimizer: " in problem


def test_an_unknown_key_is_refused_as_a_spelling_mistake(tmp_path):
    problem = problem_with(tmp_path, changed("epochs: 20", "epochs: 20\n  epoks: 30"))
    assert "train.epoks: unknown key; remove it or correct its spelling" in problem


def test_an_unknown_section_is_refused(tmp_path):
    assert "trian: unknown key" in problem_with(tmp_path, GIVEN + "\ntrian: {epochs: 3}\n")


def test_a_missing_key_is_named(tmp_path):
    assert "train.epochs: missing" in problem_with(tmp_path, changed("  epochs: 20\n", ""))


@pytest.mark.parametrize("section", SECTIONS)
def test_a_missing_section_is_named(tmp_path, section):
    assert f"{section}: missing" in problem_with(tmp_path, changed(f"\n{section}:", f"\nx_{section}:"))


def test_a_key_given_twice_is_refused_rather_than_one_of_them_taken(tmp_path):
    problem = problem_with(tmp_path, changed("epochs: 20", "epochs: 20\n  epochs: 30"))
    assert 'duplicate key "epochs"' in problem


def test_text_that_is_not_yaml_is_named_with_its_line(tmp_path):
    problem = problem_with(tmp_path, changed("epochs: 20", "epochs: [20"))
    assert "is not valid YAML" in problem
    assert "line " in problem


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "NoneType"), ("- a\n- b\n", "list"), ("just words", "str"), (b"\xff\xfe\x00", "not valid YAML")],
)
def test_a_file_without_sections_is_refused_with_what_was_found(tmp_path, text, found):
    assert found in problem_with(tmp_path, text)


def test_a_folder_without_params_says_how_to_make_them(tmp_path):
    with pytest.raises(ParamsError, match="visionloop init"):
        load_params(tmp_path / "params.yaml")


def test_fractions_that_do_not_sum_to_one_are_refused_with_their_sum(tmp_path):
    problem = problem_with(tmp_path, changed("train: 0.7", "train: 0.8"))
    assert "split.fractions: train + val + test is 1.100; it must be 1" in problem


def test_a_precision_without_a_gate_is_refused(tmp_path):
    text = changed("    int8: {min_agreement", "    # {min_agreement")
    assert "compile: no gate for int8; add it under compile.gates" in problem_with(tmp_path, text)


def test_params_cannot_be_changed_after_they_were_read(tmp_path):
    params = load_params(written(tmp_path, GIVEN))
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.image.size = 32  # type: ignore[misc]


def test_a_number_without_end_is_refused(tmp_path):
    assert "train.lr: " in problem_with(tmp_path, changed("lr: 0.001", "lr: .inf"))


def sections_of(cls: type) -> Iterator[type]:
    """`cls` and every section inside it."""
    yield cls
    for kind in get_type_hints(cls).values():
        if dataclasses.is_dataclass(kind):
            yield from sections_of(kind)


@pytest.mark.parametrize("section", list(sections_of(Params)), ids=lambda cls: cls.__name__)
def test_no_value_has_a_default_in_python_that_no_version_would_record(section):
    assert all(field.default is field.default_factory is dataclasses.MISSING for field in dataclasses.fields(section))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=8
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(section=st.sampled_from(SECTIONS), value=ANYTHING)
def test_whatever_stands_in_a_section_its_mistakes_are_named_by_key(tmp_path, section, value):
    text = json.dumps({**YAML(typ="safe").load(GIVEN), section: value})  # JSON is YAML
    with pytest.raises(ParamsError, match=rf"(?m)^  {section}|not valid YAML"):
        load_params(written(tmp_path, text))
