"""Web pages in the place of a file: a notice, a login, an address that asks first."""

import html
import re

_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|!--|title)", re.I)
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.I)


def page_of(start: bytes, is_said: bool = False) -> str:
    """Return what to call the page that begins so, with its title; "" if it is none.

    Args:
        start: First bytes of a file or of an answer.
        is_said: The server calls it a page.
    """
    if not (is_said or _PAGE.match(start)):
        return ""
    title = _TITLE.search(start)
    said = html.unescape(title[1].decode(errors="replace")).strip() if title else ""
    return f"a web page, {said!r}" if said else "a web page"
