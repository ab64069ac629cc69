"""nginx's syntax: what is read of a file, and what holds where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.doctor.nginx import Directive, NginxError, read, seconds, size

ROOT = Path(__file__).parents[3]
Tree = list[tuple[tuple[str, ...], "Tree | None"]]

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: name != "include")


def quoted(word: str) -> str:
    """A word as it may be written: bare where that is possible."""
    if word and all(letter.isalnum() or letter in "$_./:-" for letter in word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


trees: st.SearchStrategy[Tree] = st.recursive(
    st.lists(st.tuples(st.tuples(names, words), st.none()), max_size=3),
    lambda inner: st.lists(st.tuples(st.tuples(names, words), st.none() | inner), max_size=3),
    max_leaves=6,
)


def written(tree: Tree) -> str:
    parts = []
    for line, block in tree:
        text = " ".join(map(quoted, line))
        parts.append(
            f"{text};" if block is None else f"{text} {{ # a comment; }}\n{written(block)}}}"
        )
    return "\n".join(parts)


def shape(block: Directive, tree: Tree) -> Tree:
    """What was read, with blocks that are empty as they were written."""
    return [
        ((each.name, *each.args), None if inner is None else shape(each, inner))
        for each, (_, inner) in zip(block.block, tree, strict=True)
    ]


@given(trees)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, tree: Tree) -> None:
    file = tmp_path_factory.mktemp("nginx") / "conf"
    file.write_text(written(tree))
    assert shape(read(file), tree) == tree


@given(st.text(st.sampled_from("a ;{}\"'#$\\\n"), max_size=20))
def test_whatever_is_in_a_file_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("nginx") / "conf"
    file.write_text(text)
    try:
        found = read(file)
    except NginxError:
        return
    assert all(each.where.startswith("conf:") for each in found.block)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a b", "it ends before"),
        ("a { b;", "it ends before"),
        ("a; }", ":1: a } where none belongs"),
        (";", ":1: a ; without a directive"),
        ('a\n"b;', ":2: a quote that does not end"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_with_its_line(
    tmp_path: Path, text: str, why: str
) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text(text)
    with pytest.raises(NginxError, match=r"nginx\.conf") as refused:
        read(file)
    assert why in str(refused.value)


def test_included_files_are_read_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for number in (1, 2):
        (tmp_path / "conf.d" / f"{number}.conf").write_text(f"server {{ listen {number}; }}")
    file = tmp_path / "nginx.conf"
    file.write_text("http { include conf.d/*.conf; }")
    listens = list(read(file).all("listen"))
    assert [(each.args, each.where) for each in listens] == [
        (("1",), "1.conf:1"),
        (("2",), "2.conf:1"),
    ]
    file.write_text("include nginx.conf;")
    with pytest.raises(NginxError, match="include one another"):
        read(file)


def test_a_value_is_the_nearest_blocks_and_a_list_is_not_joined(tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text(
        "http { proxy_set_header A a; proxy_read_timeout 1s;"
        " server { location / { proxy_set_header B b; } } }"
    )
    (place,) = read(file).all("location")
    assert [each.args for each in place.inherited("proxy_set_header")] == [("B", "b")]
    assert place.value("proxy_read_timeout") == "1s"
    assert place.value("proxy_pass") is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("150s", 150), ("60", 60), ("2m", 120), ("1h30m", 5400), ("500ms", 0.5), ("x", None)],
)
def test_times_are_nginxs(text: str, wanted: float | None) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1m", 1 << 20), ("512k", 512 << 10), ("7", 7), ("1G", 1 << 30), ("x", None)],
)
def test_sizes_are_nginxs(text: str, wanted: int | None) -> None:
    assert size(text) == wanted
