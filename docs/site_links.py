"""MkDocs' hook: the README's table on the first page, and names in place of links out of docs/."""

import re
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[1] / "README.md"
TABLE = "<!-- the README's table of documents -->"
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page as the site shows it: files that are no pages have no link."""
    documents = README.read_text(encoding="utf-8").partition("## Documents\n")[2]
    table = documents.partition("\n## ")[0].replace("](docs/", "](").replace("](C", "](../C")
    markdown = markdown.replace(TABLE, table)
    return _OUTSIDE.sub(lambda link: f"{link[1]} (`{link[2][3:].partition('#')[0]}`)", markdown)
