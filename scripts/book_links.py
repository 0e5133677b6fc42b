"""A preprocessor of mdBook: what to do with links of docs/ to files outside of it.

    python3 scripts/book_links.py supports RENDERER
    python3 scripts/book_links.py <BOOK

A page may link to a file of the repository, such as ../benches/RESULTS.md, which is not in the book.
In a workflow of GitHub the link leads to the file in the repository that the workflow is of.
Elsewhere the repository's address is not known, and only the text of the link stays.
"""

import json
import os
import posixpath
import re
import sys

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def repository():
    """The address of the repository's files, ending in a slash, if it is known."""
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    return f"{server}/{name}/blob/{os.environ.get('GITHUB_SHA', 'HEAD')}/" if server and name else None


def replaced(text, page):
    """`text` of the page at the path `page` within docs/, with its links out of docs/ replaced."""

    def link(found):
        label, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found.group()
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
        if path.startswith("docs/"):
            return found.group()
        return f"[{label}]({repository()}{path})" if repository() else label

    return LINK.sub(link, text)


def visit(items):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            if chapter.get("path"):
                chapter["content"] = replaced(chapter["content"], chapter["path"])
            visit(chapter["sub_items"])


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    _, book = json.load(sys.stdin)
    visit(book.get("items") or book.get("sections"))
    json.dump(book, sys.stdout)


if __name__ == "__main__":
    main()
