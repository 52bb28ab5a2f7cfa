"""The options of a YAML file, against PyYAML, and what would take too long."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tinybert.formats.nemo.yaml_options import NESTED, read_options

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
NESTS = st.sampled_from([[1, [2]], {"b": {"c": [None]}}, [], {}])


class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


@settings(max_examples=20)
@given(
    st.dictionaries(st.text().filter(lambda name: name != "<<"), SCALARS | NESTS, max_size=5),
    st.booleans(),
)
def test_options_are_those_of_pyyaml(options, flow):
    text = yaml.dump(options, Dumper=Dumper, default_flow_style=flow, allow_unicode=True)
    expected = {
        name: NESTED if isinstance(value, (list, dict)) else value
        for name, value in yaml.safe_load(text).items()
    }
    assert read_options(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 50_000, "nested over 100 deep"),
        ("? " * 50_000, "nested over 100 deep"),
        ("a: " + "1:" * 50_000 + "1", "a number has 100001 characters"),
        ("a: 0x" + "f" * 100_000, "a number has 100002 characters"),
        ("a: &x 1\nb: *x", "an alias"),
        ("<<: {a: 1}", "merged mapping"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("- a", "must be a mapping of options, got sequence"),
        ("", "must be a mapping of options, got nothing"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_refused(text, message):
    start = time.process_time()
    with pytest.raises(ValueError, match=message):
        read_options(text)
    assert time.process_time() - start < 10


def test_what_is_not_built():
    assert read_options("a: !!python/object/apply:os.system [x]") == {"a": NESTED}
    bomb = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(99))
    assert set(read_options(bomb).values()) == {NESTED}
    one_hash = "".join(f"{i * (2**61 - 1)}: 1\n" for i in range(2000))
    assert read_options(one_hash + "a: 1\n") == {"a": 1}
