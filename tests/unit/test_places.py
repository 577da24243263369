"""Places of names in config files, against lines counted by hand."""

import pytest

from nt_lightning.places import find_bad_yaml, find_key, find_odd_key, find_value

FIRST = """\
data:
  class_path: nt.data.MixtureSelection
  init_args:
    selections:
      - class_path: VerbositySelection
        init_args: {level: high}
      - class_path: RandomSelection
        init_args: {level: low, filters: {correkt: true}}
"""
SECOND = """\
data:
  init_args:  # level: no key
    level: low
"""


@pytest.fixture
def files(tmp_path):
    return [written(tmp_path / "first.yaml", FIRST), written(tmp_path / "second.yaml", SECOND)]


def written(path, text):
    path.write_text(text)
    return path


def test_a_key_is_that_of_its_owner(files):
    keys = ("data", "selections", "level")
    for owner, line, number in (("VerbositySelection", 6, "0"), ("RandomSelection", 8, "1")):
        place = find_key(keys, owner, files)
        assert place.where == f"{files[0]}:{line}"
        assert place.keys == ("data", "selections", number, "level")
    deep = find_key(("data", "selections", "filters", "correkt"), "RandomSelection", files)
    assert deep.where == f"{files[0]}:8"
    assert find_key(("data", "level"), "", files).where == f"{files[1]}:3"
    assert find_key(("data", "correkt"), "", files) is None


def test_the_last_file_wins(files, tmp_path):
    third = written(tmp_path / "third.yaml", SECOND)
    assert find_key(("data", "level"), "", [*files, third]).where == f"{third}:3"


def test_a_value_is_a_name_or_a_part_of_a_path(files):
    assert find_value("MixtureSelection", files).where == f"{files[0]}:2"
    assert find_value("RandomSelection", files).keys == ("data", "selections", "1", "class_path")
    assert find_value("Random", files) is None
    assert find_value("selections", files) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n  class_path: X\n  num: 3\n", 3),
        ("a:\n  - class_path: X\n    init_args: {b: 1}\n  - clas_path: Y\n", 4),
        ("a:\n  init_arg: {b: 1}\n", 2),
        ("a: {class_path: X, init_args: {}, dict_kwargs: {}}\nckpt_path: last\n", None),
        ("", None),
        ("3", None),
        ("a: [", None),
    ],
)
def test_odd_keys_of_classes(tmp_path, text, line):
    file = written(tmp_path / "a.yaml", text)
    found = find_odd_key([file])
    assert (found.where if found else None) == (f"{file}:{line}" if line else None)


def test_where_yaml_breaks_off(files, tmp_path):
    assert find_bad_yaml(files) is None
    bad = written(tmp_path / "bad.yaml", "a: 1\nb: [1,\nc: {\n")
    assert find_bad_yaml([*files, bad]) == f"{bad}:4"
    assert find_key(("a",), "", [bad]) is None
