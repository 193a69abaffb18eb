#!/usr/bin/python3
"""house.py CHECK ROOT BUILD: one check of the house rules over the tree.

Each check first proves that it can fail: planted violations (PLANTS) are written one by one into a
scratch folder, and each must be reported. Only then is the tree itself looked at. Exit status: 0
all well, 1 a violation (one line each), 77 a tool is missing.
"""
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

FOLDERS = ["schemas", "engine", "store", "stages", "pipeline", "bench", "tests"]
MAY_INCLUDE = {
    "schemas": ["schemas"],
    "engine": ["engine", "schemas"],
    "store": ["store", "schemas"],
    "stages": ["stages", "engine", "store", "schemas"],
    "pipeline": ["pipeline", "stages", "engine", "store", "schemas"],
    "bench": FOLDERS,
    "tests": FOLDERS,
}
# Headers of others, and the only folder (bench and tests apart) that may see them.
LIMITED = [
    (re.compile(r"zmq"), "pipeline/"),
    (re.compile(r"lmdb\.h"), "store/"),
    (re.compile(r"(oneapi/)?dnnl|(.*/)?(cblas|lapack)|\w*intrin\.h|arm_(neon|sve|acle)\.h"),
     "engine/kernels/"),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.M)
CODE_COLUMNS, COMMENT_COLUMNS = 100, 120
BARE_FLAGS = ["-std=c17", "-D_GNU_SOURCE"]
STRICT = ["-Wall", "-Wextra", "-Werror"]


class Tree:
    """A folder with the project's layout, the files under test, and how the build compiles them."""

    def __init__(self, root, files, build):
        self.root, self.files, self.build = root, files, build
        self.commands = {}
        database = os.path.join(build, "compile_commands.json")
        if os.path.exists(database):
            with open(database, encoding="utf-8") as text:
                for entry in json.load(text):
                    path = os.path.relpath(entry["file"], os.path.realpath(root))
                    self.commands.setdefault(path, clean_flags(shlex.split(entry["command"])))

    def named(self, *endings):
        return [path for path in self.files if path.endswith(endings)]

    def text(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as text:
            return text.read()

    def flags(self, path):
        """As the build compiles it, a header as a file of its folder that includes it (which may have
        flags of an instruction set); what the build does not know gets every include path it uses.
        """
        if path in self.commands:
            return self.commands[path]
        if path.endswith(".h"):
            folder = os.path.dirname(path)
            for other, flags in self.commands.items():
                if (os.path.dirname(other) == folder and other in self.files
                        and f'#include "{path}"' in self.text(other)):
                    return flags
        include = [f"-I{self.root}", f"-isystem{self.build}"]
        for flags in self.commands.values():
            for at, flag in enumerate(flags):
                if flag == "-isystem" and ["-isystem", flags[at + 1]] not in (
                        include[i:i + 2] for i in range(len(include))):
                    include += [flag, flags[at + 1]]
                elif flag.startswith("-I") and flag not in include:
                    include.append(flag)
        return BARE_FLAGS + include


def clean_flags(command):
    """A compile command without the compiler, its output and its input."""
    flags, at = [], 1
    while at < len(command):
        if command[at] in ("-o", "-MF", "-MT"):
            at += 1
        elif command[at] == "-c":
            at += 1
        elif command[at] not in ("-MD", "-MMD", "-Werror"):
            flags.append(command[at])
        at += 1
    return flags


def tree_files(root):
    """What git tracks; without git, every file in the project's folders."""
    try:
        git = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, check=False)
        tracked = git.stdout.decode() if git.returncode == 0 else ""
    except FileNotFoundError:
        tracked = ""  # a machine without git
    if tracked:
        found = tracked.split("\0")
    else:
        found = [name for name in os.listdir(root) if os.path.isfile(os.path.join(root, name))]
        for folder in FOLDERS:
            for where, _, names in os.walk(os.path.join(root, folder)):
                found += [os.path.relpath(os.path.join(where, name), root) for name in names]
    return sorted(path for path in found if path and os.path.isfile(os.path.join(root, path)))


def run_each(jobs):
    """Run (path, command) two at a time; a failing one is a violation told in its own words."""
    def one(job):
        done = subprocess.run(job[1], capture_output=True, text=True, check=False)
        return [] if done.returncode == 0 else [f"{job[0]}: {done.stdout}{done.stderr}".rstrip()]

    with ThreadPoolExecutor(2) as pool:
        return [words for found in pool.map(one, jobs) for words in found]


def foreign(path, text):
    """True for a file of another kind of CPU, which cannot be compiled here."""
    arm = platform.machine() in ("aarch64", "arm64")
    other = r"<\w*intrin\.h>" if arm else r"<arm_\w+\.h>"
    return bool(re.search(other, text)) or os.path.basename(path) in (
        ("x86.c", "avx2.c", "avx512.c") if arm else ("arm.c", "neon.c"))


def layers(tree):
    wrong = []
    for path in tree.named(".c", ".h"):
        folder = path.split("/")[0]
        if folder not in MAY_INCLUDE:
            wrong.append(f"{path}: C code outside the folders {', '.join(FOLDERS)}")
            continue
        found = [own or other for own, other in INCLUDE.findall(tree.text(path))]
        for include in found:
            target = include.split("/")[0]
            if "../" in include or include.startswith("./"):
                wrong.append(f"{path}: includes {include}: write it from the root")
            elif target in MAY_INCLUDE and target not in MAY_INCLUDE[folder]:
                wrong.append(f"{path}: {folder}/ may not include {include}")
            for pattern, home in LIMITED:
                if pattern.match(include) and not path.startswith((home, "bench/", "tests/")):
                    wrong.append(f"{path}: {include} belongs to {home}")
        own = path[:-2] + ".h"
        if path.endswith(".c") and own in tree.files and found[:1] != [own]:
            wrong.append(f"{path}: its own header {own} must be included first")
        for include in re.findall(r'^\s*#\s*include\s*"([^"/]+)"', tree.text(path), re.M):
            wrong.append(f'{path}: includes "{include}": write it from the root')
    return wrong


def words(tree):
    wrong = []
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
    places = re.compile(r"(?<![\w.])/(work|root|home|mnt|Users)/\w")
    for path in tree.files:
        if path.endswith((".bin", ".safetensors", ".xz", ".gz", ".png", ".npy")):
            continue
        comment = False
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            at = f"{path}:{number}"
            code = path.endswith((".c", ".h"))
            comment = comment or line.lstrip().startswith("/*")
            wide = COMMENT_COLUMNS if comment else CODE_COLUMNS
            if line != line.rstrip() and not path.startswith("tests/vectors/"):
                wrong.append(f"{at}: white space at the end")
            if code and "\t" in line:
                wrong.append(f"{at}: a tab")
            # A string is what clang-format cannot break.
            if code and len(line) > wide and (comment or '"' not in line):
                wrong.append(f"{at}: {len(line)} columns of at most {wide}")
            if marks.search(line):
                wrong.append(f"{at}: work left to do stands in the issues, not in the code")
            if places.search(line):
                wrong.append(f"{at}: a path of one machine")
            if "*/" in line:
                comment = False
    return wrong


def style(tree):
    config = "--style=file:" + os.path.join(ROOT, ".clang-format")
    return run_each([(path, ["clang-format", config, "--dry-run", "-Werror",
                             os.path.join(tree.root, path)]) for path in tree.named(".c", ".h")])


def headers(tree):
    jobs = []
    for path in tree.named(".h"):
        if foreign(path, tree.text(path)):
            print(f"{path}: for another CPU, not compiled")
            continue
        # Twice, so that a missing guard shows; with something after it, so that a file is not empty.
        text = f'#include "{path}"\n#include "{path}"\nextern int house;\n'
        for compiler in ("gcc", "clang"):
            jobs.append((path, ["sh", "-c", 'printf %s "$1" | { shift; "$@"; }', "sh", text, compiler,
                                *tree.flags(path), *STRICT, "-fsyntax-only", "-x", "c", "-"]))
    return run_each(jobs)


def sources(tree):
    """gcc builds the tree (with RIVERRUN_WERROR); this is clang's turn, and gcc's for the rest."""
    jobs = []
    for path in tree.named(".c"):
        if foreign(path, tree.text(path)):
            print(f"{path}: for another CPU, not compiled")
            continue
        if path not in tree.commands and tree.root == ROOT:
            print(f"{path}: no target compiles it")
        for compiler in ["clang"] if path in tree.commands else ["gcc", "clang"]:
            jobs.append((path, [compiler, *tree.flags(path), *STRICT, "-fsyntax-only",
                                os.path.join(tree.root, path)]))
    return run_each(jobs)


def tidy(tree):
    config = "--config-file=" + os.path.join(ROOT, ".clang-tidy")
    return run_each([(path, ["clang-tidy", "--quiet", config, os.path.join(tree.root, path), "--",
                             *tree.flags(path)])
                     for path in tree.named(".c") if not foreign(path, tree.text(path))])


GOOD = "#ifndef A_H\n#define A_H\n\nint a(int x);\n\n#endif\n"
# Check: its function, the tools it needs, a file that passes, and violations with a word that must
# be in the report of each.
CHECKS = {
    "layers": (layers, [], ("stages/a.c", '#include "engine/engine.h"\n#include "store/store.h"\n'), [
        ("engine/a.c", '#include "store/store.h"\n', "may not include"),
        ("store/a.h", '#include "engine/engine.h"\n', "may not include"),
        ("schemas/a.h", '#include "stages/stage.h"\n', "may not include"),
        ("engine/a.h", '  #  include "pipeline/link.h"\n', "may not include"),
        ("stages/a.h", '#include "pipeline/link.h"\n', "may not include"),
        ("pipeline/a.c", '#include "tests/help.h"\n', "may not include"),
        ("stages/a.c", '#include "bench/clock.h"\n', "may not include"),
        ("stages/a.c", "#include <zmq.h>\n", "belongs to pipeline/"),
        ("stages/a.c", "#include <lmdb.h>\n", "belongs to store/"),
        ("engine/a.c", "#include <immintrin.h>\n", "belongs to engine/kernels/"),
        ("engine/a.c", "#include <oneapi/dnnl/dnnl.h>\n", "belongs to engine/kernels/"),
        ("pipeline/a.c", "#include <cblas.h>\n", "belongs to engine/kernels/"),
        ("engine/a.c", "#include <arm_neon.h>\n", "belongs to engine/kernels/"),
        ("engine/a.c", '#include "../schemas/err.h"\n', "from the root"),
        ("engine/a.c", '#include "engine.h"\n', "from the root"),
        ("engine/a.c", '#include <stdio.h>\n#include "engine/a.h"\n', "must be included first"),
        ("other/a.c", "int a;\n", "outside the folders"),
    ]),
    "words": (words, [], ("engine/a.c", "/* Fine. */\nint a;\n"), [
        ("engine/a.c", "int a; \n", "white space"),
        ("README.md", "text \n", "white space"),
        ("engine/a.h", "\tint a;\n", "a tab"),
        ("engine/a.h", "int " + "a" * 100 + ";\n", "columns"),
        ("engine/a.h", "/* " + "a " * 60 + "*/\n", "columns"),
        ("store/a.c", "/* TO" "DO: more */\n", "left to do"),
        ("tests/a.py", "# FIX" "ME\n", "left to do"),
        ("store/a.c", 'char *a = "/' 'work/shared";\n', "one machine"),
        ("tests/a.sh", "cd /" "home/someone\n", "one machine"),
    ]),
    "format": (style, ["clang-format"], ("engine/a.h", GOOD), [
        ("engine/a.h", GOOD.replace("int x", "int  x"), "clang-format-violations"),
        ("store/a.c", "int a(int x)\n{\n  return x;\n}\n", "clang-format-violations"),
    ]),
    "headers": (headers, ["gcc", "clang"], ("engine/a.h", GOOD), [
        ("engine/a.h", GOOD.replace("int x", "size_t x"), "size_t"),
        ("store/a.h", "enum a { A };\n", "redefinition"),
        ("store/a.h", GOOD.replace("int a(int x);", "static inline int a(int x) { return 0; }"),
         "unused parameter"),
    ]),
    "sources": (sources, ["gcc", "clang"], ("engine/a.c", "extern int a;\nint a;\n"), [
        ("engine/a.c", "static int a;\nint b;\n", "unused"),
        ("engine/a.c", "int a(unsigned x)\n{\n    return x < -1;\n}\n", "sign"),
        ("engine/a.c", "int a(int x)\n{\n    x = x;\n    return 0;\n}\n", "self-assign"),
    ]),
    "tidy": (tidy, ["clang-tidy"], ("engine/a.c", "extern int a;\nint a;\n"), [
        ("engine/a.c", "int a(int x)\n{\n    return x > 1 && x > 1;\n}\n", "redundant"),
        ("engine/a.c", "#include <string.h>\n\nint a(const char *x)\n{\n"
                       "    return strcmp(x, \"x\") == 1;\n}\n", "bugprone-suspicious-string"),
        ("engine/a.c", "int a(int y)\n{\n    int *x = 0;\n\n    return y ? *x : 0;\n}\n",
         "clang-analyzer-core.NullDereference"),
    ]),
}


def planted(check, good, plants, build):
    """The violations that check fails to see, and the good file if it does not let that pass."""
    missed = []
    for path, text, word in [(*good, None), *plants]:
        with tempfile.TemporaryDirectory(prefix="riverrun-house-") as root:
            files = {path: text}
            if "a.h" in text:
                files["engine/a.h"] = GOOD
            for name, content in files.items():
                os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
                with open(os.path.join(root, name), "w", encoding="utf-8") as out:
                    out.write(content)
            found = check(Tree(root, list(files), build))
            if word is None and found:
                missed.append(f"a good file is refused: {found}")
            elif word and not any(re.search(word, told) for told in found):
                missed.append(f"a violation is not seen: {path} {text!r}, reported: {found}")
    return missed


def main():
    check, tools, good, plants = CHECKS[sys.argv[1]]
    absent = [tool for tool in tools if not shutil.which(tool)]
    if absent:
        print(f"skipped: {', '.join(absent)} not installed (./quickstart test installs it)")
        return 77
    build = os.path.realpath(sys.argv[3])
    missed = planted(check, good, plants, build)
    print("\n".join(missed), end="\n" if missed else "")
    files = tree_files(ROOT)
    wrong = check(Tree(ROOT, files, build))
    print("\n".join(wrong), end="\n" if wrong else "")
    print(f"{len(files)} files, {len(plants)} planted violations: {len(wrong)} violations, "
          f"{len(missed)} not seen")
    return 1 if missed or wrong or not files else 0


if __name__ == "__main__":
    ROOT = os.path.realpath(sys.argv[2])
    sys.exit(main())
