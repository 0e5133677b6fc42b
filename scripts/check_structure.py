"""What keeps the source readable: no circle of files, no arrow that runs upward, no long function,
no wide prose.

    python3 scripts/check_structure.py [--circles]

Imports are read as text: `use` trees and paths that begin with `crate`, `ewe`, `super` or `self`.
Tests are not read. Exits with 1 and one line a fault.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
LONGEST_FUNCTION = 80
WIDEST_COMMENT = 100
LARGEST_ROOM = 25
# Rooms that must not import others: the room, and what it must not name.
FORBIDDEN = [
    ("train", "cli"),
    ("engine", "cli"),
    ("model", "cli"),
    ("eval", "cli"),
    ("chat", "cli"),
    ("interchange", "store"),
    ("filter", "store"),
    ("filter", "interchange"),
    ("generate", "store"),
    ("store", "pipeline"),
    ("client", "store"),
]
NAME = r"[A-Za-z_][A-Za-z0-9_]*"


def blank(text):
    """`text` with comments and the insides of strings gone, lines kept."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|r(#+)".*?"\1|r"[^"]*"|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'', re.S
    )
    return pattern.sub(lambda found: "\n" * found.group().count("\n") or " ", text)


def without_tests(text):
    """`text` without inline modules of tests."""
    while found := re.search(r"#\[cfg\((?:all\()?test[^\n]*\]\s*(?:pub(?:\([^)]*\))? )?mod \w+ \{", text):
        depth, at = 1, found.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        text = text[: found.start()] + "\n" * text[found.start() : at].count("\n") + text[at:]
    return text


class Crate:
    """The modules under one root file."""

    def __init__(self, name, root):
        self.name = name
        self.files = {}
        self.texts = {}
        self.visit((), root, root.parent)

    def visit(self, path, file, folder):
        text = without_tests(blank(file.read_text()))
        self.files[path] = file
        self.texts[path] = text
        pattern = rf"((?:#\[[^\n]*\]\s*)*)(?:pub(?:\([^)]*\))?\s+)?mod\s+({NAME})\s*;"
        for found in re.finditer(pattern, text):
            if "cfg(test)" in found.group(1) or "cfg(all(test" in found.group(1):
                continue
            name = found.group(2)
            for candidate in (folder / f"{name}.rs", folder / name / "mod.rs"):
                if candidate.exists():
                    self.visit((*path, name), candidate, folder / name)


def expand(tree):
    """The paths of a `use` tree, each with the name it gets."""
    tree = tree.strip()
    if "{" not in tree:
        path, _, name = tree.partition(" as ")
        parts = [part.strip() for part in path.split("::")]
        return [(parts, (name.strip() or parts[-1]))]
    start = tree.index("{")
    prefix = [part.strip() for part in tree[:start].split("::") if part.strip()]
    inner, depth, pieces, piece = tree[start + 1 : tree.rindex("}")], 0, [], ""
    for character in inner:
        if character == "," and depth == 0:
            pieces.append(piece)
            piece = ""
            continue
        depth += {"{": 1, "}": -1}.get(character, 0)
        piece += character
    pieces.append(piece)
    out = []
    for piece in pieces:
        for parts, name in expand(piece) if piece.strip() else []:
            if parts == ["self"]:
                out.append((prefix, prefix[-1]))
            else:
                out.append((prefix + parts, name))
    return out


class Source:
    """All modules of both crates, and who imports whom."""

    def __init__(self):
        self.crates = {"ewe": Crate("ewe", SOURCE / "lib.rs"), "torch": Crate("torch", SOURCE / "torch.rs")}
        self.uses = {}
        for crate in self.crates.values():
            for path, text in crate.texts.items():
                found = re.findall(r"(?:^|\n)\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", text)
                self.uses[crate.name, path] = [
                    (bool(public), parts, name) for public, tree in found for parts, name in expand(tree)
                ]

    def absolute(self, crate, module, parts):
        """Crate and absolute path of `parts` as written in `module`; none for paths into other
        crates."""
        head, rest = parts[0], parts[1:]
        if head == "crate":
            return crate, tuple(rest)
        if head == "ewe" and crate != "ewe":
            return "ewe", tuple(rest)
        if head == "self":
            return crate, (*module, *rest)
        if head == "super":
            up = module[:-1]
            while rest and rest[0] == "super":
                up, rest = up[:-1], rest[1:]
            return crate, (*up, *rest)
        if (*module, head) in self.crates[crate].files:
            return crate, (*module, *parts)
        return None

    def owner(self, crate, path, depth=0):
        """The module that defines what `path` names, re-exports followed."""
        files = self.crates[crate].files
        length = len(path)
        while path[:length] not in files:
            length -= 1
        module = path[:length]
        if length == len(path) or depth > 8:
            return crate, module
        name = path[length]
        for public, parts, as_name in self.uses[crate, module]:
            if public and as_name == name:
                target = self.absolute(crate, module, parts)
                if target and target[1] != path:
                    return self.owner(*target, depth + 1)
        return crate, module

    def arrows(self, leave_out_parents=True):
        """From file to file, with the names taken."""
        out = defaultdict(lambda: defaultdict(set))
        for crate in self.crates.values():
            for module, text in crate.texts.items():
                body = re.sub(r"(?:^|\n)\s*(?:pub(?:\([^)]*\))?\s+)?use\s+[^;]+;", "\n", text)
                paths = [parts for _, parts, _ in self.uses[crate.name, module]]
                paths += [found.split("::") for found in re.findall(rf"(?<![\w:]){NAME}(?:::{NAME})+", body)]
                for parts in paths:
                    parts = parts[:-1] if parts[-1] == "*" else parts
                    target = parts and self.absolute(crate.name, module, parts)
                    if not target:
                        continue
                    owner = self.owner(*target)
                    here, there = crate.files[module], self.crates[owner[0]].files[owner[1]]
                    # A module is part of those that it is in, and may use what they define.
                    within = owner == (crate.name, module[: len(owner[1])])
                    if here != there and owner[1] and not (within and leave_out_parents):
                        out[here][there].add(parts[-1])
        return out


def circles(arrows):
    """Sets of files that reach each other (Tarjan's strongly connected components)."""
    index, low, stack, on, out = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on.add(node)
        for other in arrows.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle = []
            while True:
                last = stack.pop()
                on.discard(last)
                circle.append(last)
                if last == node:
                    break
            if len(circle) > 1:
                out.append(sorted(circle))

    sys.setrecursionlimit(10_000)
    for node in list(arrows):
        if node not in index:
            visit(node)
    return sorted(out)


def name_of(file):
    return str(file.relative_to(SOURCE.parent))


def faults_of_imports():
    arrows = Source().arrows()
    for circle in circles(arrows):
        ties = [
            f"    {name_of(here)} -> {name_of(there)}: {', '.join(sorted(arrows[here][there]))}"
            for here in circle
            for there in circle
            if there in arrows.get(here, {})
        ]
        yield "\n".join([f"a circle of {len(circle)} files:", *ties])
    for here, others in sorted(arrows.items()):
        room = here.relative_to(SOURCE).parts[0].removesuffix(".rs")
        for there in sorted(others):
            other = there.relative_to(SOURCE).parts[0].removesuffix(".rs")
            if (room, other) in FORBIDDEN:
                yield f"{name_of(here)}: {room} must not import {other} ({name_of(there)})"


def is_test(file):
    return any(part in ("tests", "tests.rs") for part in file.parts)


def faults_of_files():
    rooms = defaultdict(int)
    for file in sorted(SOURCE.rglob("*.rs")):
        rooms[file.parent] += 1
        lines = file.read_text().split("\n")
        for number, line in enumerate(lines, 1):
            if len(line) > WIDEST_COMMENT and re.match(r"\s*//", line):
                yield f"{name_of(file)}:{number}: a comment of {len(line)} columns"
        tests_begin = next(
            (at for at, line in enumerate(lines) if line.startswith("#[cfg(test)]") or line.startswith("#[cfg(all(test")),
            len(lines),
        )
        if is_test(file):
            continue
        for start, line in enumerate(lines[:tests_begin]):
            if found := re.match(r"(\s*)(?:pub(?:\([^)]*\))? )?(?:async |const |unsafe )*fn (\w+)", line):
                end = start
                while lines[end] != found.group(1) + "}" and not (end == start and line.rstrip().endswith("}")):
                    # A declaration has no body.
                    if re.match(found.group(1) + r"(\)|(pub )?fn .*\)).*;$", lines[end]):
                        break
                    end += 1
                    if end >= len(lines):
                        break
                if end - start + 1 > LONGEST_FUNCTION:
                    yield f"{name_of(file)}:{start + 1}: `{found.group(2)}` has {end - start + 1} lines"
    for room, count in sorted(rooms.items()):
        if count > LARGEST_ROOM:
            yield f"{name_of(room)}: {count} files in one folder"


def main():
    only_circles = "--circles" in sys.argv
    faults = list(faults_of_imports()) + ([] if only_circles else list(faults_of_files()))
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults" if faults else "the structure holds")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
