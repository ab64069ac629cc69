"""What MkDocs is told beside mkdocs.yml: README and changelog are pages, too, and what pages link
to outside docs/ comes along. So the same Markdown has good links in the repository and on the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import yaml
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {"README.md": "readme.md", "CHANGELOG.md": "changelog.md"}
"""Pages that are not in docs/, and where they are on the site."""
OUTSIDE = "files/"
"""Where on the site files are that are not in docs/."""
LINK = re.compile(r"\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
INFO = re.compile(r"^( *```\w+) [\w ]+$", re.MULTILINE)
"""A fence that says more than its language, which the site's Markdown does not take."""
LIST = re.compile(r"^(\*\*.+\*\*)\n(?=- )", re.MULTILINE)
"""What stands right above a list, between which it wants an empty line."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and files that are not in docs/."""
    for source, name in PAGES.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, name, content=text))
    for path in _linked():
        if _place(path).startswith(OUTSIDE):
            files.append(File.generated(config, _place(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Change links that lead out of docs/ so that they lead somewhere on the site."""
    here = page.file.src_uri
    folder = _folder(here)

    def changed(link: re.Match[str]) -> str:
        place = _place((folder / link["path"]).resolve())
        relative = posixpath.relpath(place, posixpath.dirname(here) or ".")
        return f"]({relative}{link['anchor'] or ''})"

    markdown = INFO.sub(r"\1", markdown)
    return _outside_fences(markdown, lambda text: LIST.sub(r"\1\n\n", LINK.sub(changed, text)))


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """The page for what is not there leads to others by their place beside it: the site may be
    anywhere, as files or below a path, and not only at a server's root."""
    if template_name != "404.html":
        return output_content
    text = re.sub(r'((?:href|src)=")/(?!/)', r"\1", output_content)
    text = text.replace('href=""', 'href="index.html"')
    return text.replace('"base": "/"', '"base": "."').replace('"base":"/"', '"base":"."')


def on_pre_build(config: Any) -> None:
    """See that the AsyncAPI document is YAML."""
    found = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
    if not str(found["asyncapi"]).startswith("3."):
        raise PluginError("docs/asyncapi.yaml: no AsyncAPI 3 document")


def _folder(page: str) -> Path:
    """Where links of a page begin."""
    return ROOT if page in PAGES.values() else (DOCS / page).parent


def _linked() -> set[Path]:
    """All files that a page links to."""
    found = set()
    for page in [*(ROOT / name for name in PAGES), *DOCS.rglob("*.md")]:
        for link in LINK.finditer(FENCE.sub("", page.read_text())):
            path = (page.parent / link["path"]).resolve()
            if path.is_file():
                found.add(path)
    return found


def _place(path: Path) -> str:
    """Where a file of the repository is on the site."""
    if path.is_dir() and (path / "README.md").exists():
        path = path / "README.md"
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    return PAGES.get(name, OUTSIDE + name)


def _outside_fences(text: str, change: Any) -> str:
    """``text`` with ``change`` made to all but its fenced blocks."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])
