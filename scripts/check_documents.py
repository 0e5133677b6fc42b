"""How much of the text of real files `ewe add-documents --text` reads, beside other programs.

    python3 scripts/check_documents.py --ewe target/debug/ewe [--most 40] [FOLDER...]

References: Python's html.parser for HTML, pypdf for PDF (where it can be imported), the bytes
themselves for text, `man` for the sources of manual pages (where it is installed). Prints, for each
file, the share of the reference's words that ewe has, counted as a multiset, and the share of ewe's
words that the reference has; at the end the sums by format.
"""

import argparse
import gzip
import html.parser
import io
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

FOLDERS = ["/usr/share/doc", "/usr/share/man"]
HIDDEN = {"script", "style", "template", "noscript", "svg", "math", "select", "iframe", "object", "canvas"}
VOID = {"br", "hr", "img", "input", "link", "meta", "area", "base", "col", "embed", "source", "track", "wbr"}


class Text(html.parser.HTMLParser):
    """The text of a page, an element at a time."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts = []
        self.hidden = 0
        self.in_head = False

    def handle_starttag(self, tag, attributes):
        if tag == "head":
            self.in_head = True
        if tag == "body":
            self.in_head = False
        if tag in HIDDEN:
            self.hidden += 1
        if tag not in ("b", "i", "em", "strong", "a", "span", "code", "tt", "font", "sup", "sub", "u", "small", "kbd", "var"):
            self.parts.append(" ")
        if tag == "img" and not self.hidden:
            self.parts.append(dict(attributes).get("alt") or "")

    def handle_endtag(self, tag):
        if tag == "head":
            self.in_head = False
        if tag in HIDDEN and self.hidden:
            self.hidden -= 1
        if tag not in VOID and tag in ("p", "div", "td", "th", "li", "tr", "h1", "h2", "h3", "h4", "dt", "dd", "pre"):
            self.parts.append(" ")

    def handle_data(self, data):
        if not self.hidden and not self.in_head:
            self.parts.append(data)


def words(text):
    return Counter(re.findall(r"\w+", text.lower()))


def opened(path):
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def decoded(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def reference(path, kind):
    """The text that another program reads; None where there is none."""
    if kind == "html":
        page = Text()
        data = opened(path)
        found = re.search(rb"charset=[\"']?([\w-]+)", data[:4096])
        name = found.group(1).decode() if found else "utf-8"
        try:
            page.feed(data.decode(name))
        except (UnicodeDecodeError, LookupError):
            page.feed(decoded(data))
        page.close()
        return "".join(page.parts)
    if kind == "pdf":
        try:
            import pypdf
        except ImportError:
            return None
        try:
            return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(opened(path))).pages)
        except pypdf.errors.PyPdfError as error:
            print(f"pdf   {path}: left out, pypdf says: {error}")
            return None
    if kind == "manual":
        return rendered(path)
    return decoded(opened(path))


def rendered(path):
    """A manual page as `man` shows it, without its header and footer; None without `man`."""
    command = ["man", "--nh", "--nj", "--encoding=utf8", "--local-file", path]
    environment = {**os.environ, "MANWIDTH": "80", "MANPAGER": "cat"}
    try:
        page = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    lines = re.sub(".\b", "", page).strip().splitlines()
    return "\n".join(lines[1 : None if lines[-1].startswith(" ") else -1])


def kind_of(path):
    name = path.name.removesuffix(".gz").lower()
    if name.endswith((".html", ".htm")):
        return "html"
    if name.endswith(".pdf"):
        return "pdf"
    if name.endswith((".txt", ".md", ".rst")) or "." not in name:
        return "text"
    if re.search(r"/man\d/[^/]+\.\d[^.]*$", str(path).removesuffix(".gz")):
        return "manual"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ewe", default="target/debug/ewe")
    parser.add_argument("--most", type=int, default=40, help="files of each format")
    parser.add_argument("--least", type=float, default=0.98)
    parser.add_argument("folders", nargs="*", default=FOLDERS)
    arguments = parser.parse_args()
    chosen = defaultdict(list)
    for folder in arguments.folders:
        for path in sorted(Path(folder).rglob("*")):
            kind = path.is_file() and not path.is_symlink() and kind_of(path)
            if kind and path.stat().st_size > 500:
                chosen[kind].append(path)
    sums = defaultdict(lambda: [0, 0, 0, 0])
    for kind, paths in chosen.items():
        step = max(1, len(paths) // arguments.most)
        for path in paths[::step][: arguments.most]:
            ran = subprocess.run([arguments.ewe, "add-documents", "--text", "--", path], capture_output=True, text=True)
            theirs = reference(path, kind)
            if theirs is None:
                continue
            if ran.returncode:
                print(f"{kind:5} {path}: {ran.stderr.strip().splitlines()[0] if ran.stderr else ran.returncode}")
                sums[kind][3] += 1
                continue
            ours, theirs = words(ran.stdout), words(theirs)
            both = sum((ours & theirs).values())
            recall = both / max(1, sum(theirs.values()))
            precision = both / max(1, sum(ours.values()))
            sums[kind][0] += both
            sums[kind][1] += sum(theirs.values())
            sums[kind][2] += sum(ours.values())
            if min(recall, precision) < arguments.least:
                print(f"{kind:5} {recall:.4f} {precision:.4f} {path}")
    failed = False
    for kind, (both, theirs, ours, refused) in sorted(sums.items()):
        recall, precision = both / max(1, theirs), both / max(1, ours)
        failed |= recall < arguments.least
        print(f"{kind}: {recall:.4f} of {theirs} words of the reference, {precision:.4f} of {ours} of ewe, {refused} refused")
    sys.exit(failed)


if __name__ == "__main__":
    main()
