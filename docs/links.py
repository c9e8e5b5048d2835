"""A preprocessor of mdbook: links that leave the book.

A link to a file that a page includes becomes a link to that page. Any other link to a file of the
repository becomes its text, because the file is not in the book.
"""

import json
import re
import sys

PAGES = {"config/README.md": "reference.md", "packaging/README.md": "deploy.md"}
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def mend(match):
    text, target, anchor = match.groups()
    in_book = not target or "://" in target or re.fullmatch(r"[a-z-]+\.md", target)
    if in_book:
        return match.group(0)
    page = PAGES.get(re.sub(r"^(\.\./)+", "", target))
    return f"[{text}]({page}{anchor or ''})" if page else text


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
