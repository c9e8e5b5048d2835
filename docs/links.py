"""A preprocessor of mdbook: links that leave the book.

A link to a file that a page includes becomes a link to that page. Any other link to a file of the
repository becomes its text, because the file is not in the book.
"""

import json
import re
import sys

PAGES = {"config/README.md": "reference.md"}
LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+|examples\b)([^)#]*)(#[^)]*)?\)")


def mend(match):
    text, up, path, anchor = match.groups()
    page = PAGES.get(path)
    return f"[{text}]({page}{anchor or ''})" if page and up != "examples" else text


def walk(value):
    if isinstance(value, dict):
        return {
            key: LINK.sub(mend, item) if key == "content" else walk(item)
            for key, item in value.items()
        }
    return [walk(item) for item in value] if isinstance(value, list) else value


if len(sys.argv) > 2 and sys.argv[1] == "supports":
    sys.exit(0)
_, book = json.load(sys.stdin)
json.dump(walk(book), sys.stdout)
