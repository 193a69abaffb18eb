#!/usr/bin/python3
"""The engine as a library of its own: installed into a scratch prefix, used by a program that knows nothing else
of the tree."""
import glob
import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys

import e2e_world
from e2e_world import Skip, get, put

TEXT, VOCAB = "The river", 256


def run(*command, **environment):
    done = subprocess.run(command, capture_output=True, check=False, timeout=120, env={**os.environ, **environment})
    assert done.returncode == 0, (command, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    return done.stdout


class Installed:
    """The build, installed; Skip where a tool is missing."""

    def __init__(self, world):
        for tool in ("cmake", "cc", "pkg-config", "nm", "ldd", "readelf"):
            if not shutil.which(tool):
                raise Skip(f"no {tool}")
        self.world, self.prefix = world, world.path("prefix")
        run("cmake", "--install", os.path.abspath(world.build), "--prefix", self.prefix)
        self.pc = os.path.dirname(self.one("riverrun_engine.pc"))
        self.header, self.shared = self.one("riverrun_engine.h"), self.one("libriverrun_engine.so")
        self.example = self.one("example.c")

    def one(self, name):
        found = glob.glob(os.path.join(self.prefix, "**", name), recursive=True)
        assert len(found) == 1, (name, found)
        return found[0]

    def flags(self, *more):
        told = run("pkg-config", *more, "--cflags", "--libs", "riverrun_engine", PKG_CONFIG_PATH=self.pc)
        return told.decode().split()

    def compile(self, out, *arguments):
        """Outside of the tree, with nothing but what pkg-config says."""
        done = subprocess.run(["cc", self.example, "-o", out, *arguments], cwd=self.world.folder, capture_output=True,
                              check=False)
        assert done.returncode == 0, done.stderr.decode()
        return out

    def output(self, program):
        return run(program, os.path.abspath(self.world.model), TEXT, LD_LIBRARY_PATH=os.path.dirname(self.shared))


def functions_of(header):
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    return set(re.findall(r"\b([a-z][a-z0-9_]*)\(", code)) - {"__attribute__"}


def test_the_example_compiles_and_tells_the_truth(world):
    installed = Installed(world)
    got = installed.output(installed.compile(world.path("example"), *installed.flags()))
    tokens, lines = [0], got.split(b"\n")
    for at, character in enumerate(TEXT):
        run(world.place.riverrun, "model", "logits", world.model, "--tokens", ",".join(map(str, tokens)), "-o",
            world.path("logits.f32"))
        logits = struct.unpack(f"<{VOCAB}f", get(world.path("logits.f32")))
        top = max(logits)
        nats = top + math.log(sum(math.exp(x - top) for x in logits)) - logits[ord(character)]
        told, text = lines[at][:7], lines[at][9:]
        assert abs(float(told) - nats) < 2e-4 and text == character.encode(), (lines[at], nats)
        tokens.append(ord(character))
    rest = b"\n".join(lines[len(TEXT):])
    assert rest == run(world.place.riverrun, "generate", "--model", world.model, "--prompt", TEXT, "--tokens", "40",
                       "--top-p", "0.8", "--seed", "1", "--past-end", "-q") + b"\n"


def test_the_static_library_does_the_same(world):
    installed = Installed(world)
    want = installed.output(installed.compile(world.path("shared"), *installed.flags()))
    archive = installed.one("libriverrun_engine.a")
    flags = [flag for flag in installed.flags("--static") if flag != "-lriverrun_engine"]
    program = installed.compile(world.path("static"), archive, *flags)
    assert b"libriverrun_engine" not in run("ldd", program)
    assert installed.output(program) == want


def test_the_shared_library_shows_the_functions_of_the_header_and_no_other(world):
    installed = Installed(world)
    wanted = functions_of(get(installed.header).decode())
    shown = {line.split()[-1] for line in run("nm", "-D", "--defined-only", installed.shared).decode().splitlines()}
    assert shown == wanted, (shown - wanted, wanted - shown)
    assert {"engine_open", "sampler_next", "tokenizer_next", "err_words"} <= shown and "engine_hold" not in shown
    assert "Library soname: [libriverrun_engine.so.0]" in run("readelf", "-d", installed.shared).decode()


def test_neither_zeromq_nor_lmdb_is_needed(world):
    installed = Installed(world)
    needs = run("ldd", installed.shared).decode()
    assert "jansson" in needs and not re.search(r"zmq|lmdb|protobuf", needs), needs
    assert re.search(r"zmq|lmdb", run("ldd", installed.one("bin/riverrun")).decode()), "nothing was shown"


def test_the_header_stands_alone_in_c_and_in_cpp(world):
    installed = Installed(world)
    assert '#include "' not in get(installed.header).decode()
    put(world.path("alone.c"), b"#include <riverrun_engine.h>\nint main(void) { return err_status(ERR_OK); }\n")
    put(world.path("alone.cc"), get(world.path("alone.c")))
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I", os.path.dirname(installed.header)]
    run("cc", "-std=c99", *strict, world.path("alone.c"))
    run("cc", "-std=c17", *strict, world.path("alone.c"))
    if shutil.which("c++"):
        run("c++", *strict, world.path("alone.cc"))


def test_the_program_is_installed_with_its_model(world):
    installed = Installed(world)
    moved = world.path("elsewhere")
    os.rename(installed.prefix, moved)
    program = os.path.join(moved, "bin", "riverrun")
    assert run(program, "--version").startswith(b"riverrun ")
    told = json.loads(run(program, "model", "info", "--json"))
    model = os.path.join(moved, "share", "riverrun", "riverrun-small.safetensors")
    assert os.path.samefile(told["file"], model), told
    put(world.path("book.txt"), b"A river runs past.\n")
    run(program, "read", world.path("book.txt"), "-o", world.path("read"), "--no-report", "-q")
    assert any(name.endswith("book.txt.jsonl") for name in os.listdir(world.path("read")))


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
