"""What the end-to-end tests of bad input and bad luck share, on top of e2e.py: one job in a world that goes
wrong, and how it has to answer: an exit status, one line on stderr, nothing touched.

A script defines functions test_<what holds>(world) and ends with `sys.exit(e2e_world.main(globals()))`. Runs
are interrupted at a named step of the protocol (riverrun_steps, RIVERRUN_CRASH), not after a time, so that
each stops at the same place on every machine.
"""
import functools
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import traceback

import e2e
from e2e import Skip, read as get  # of use to the scripts, like all here

# Exit statuses: schemas/err.h.
DONE, SYSTEM, USAGE, STOPPED, LIMIT, INPUT, ABSENT, SOURCE, CHANGED, MODEL = 0, 1, 2, 3, 5, 6, 7, 10, 11, 12
MISMATCH, SINK, FULL, DAMAGED, VERSION, BUSY, SOME = 13, 14, 15, 16, 17, 18, 19

NOBODY = 65534


def text(size, seed=1):
    """size bytes of generated paragraphs, the same for the same seed."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlucmfwypvbgkjqxz", k=rng.randint(1, 9)))
             for _ in range(500)]
    parts, length = [], 0
    while length < size:
        part = " ".join(rng.choices(words, k=rng.randint(5, 90))) + "\n\n"
        parts.append(part)
        length += len(part)
    return "".join(parts).encode()[:size]


def put(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    e2e.write(path, data)


def tree(folder):
    """Every file under folder and its bytes' hash."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if os.path.isfile(path):
                found[os.path.relpath(path, folder)] = hashlib.sha256(get(path)).hexdigest()
    return found


def records(path):
    """One a line: lines end with \n alone, while str.splitlines would end them within a text at U+0085."""
    return [json.loads(line) for line in get(path).splitlines()]


def wait_until(true, what, process=None, guard=e2e.HANG_S):
    """Wait for an event in the world; process, where given, must live until then."""
    def happened():
        done = true()
        if not done and process and process.poll() is not None:
            raise e2e.Failed(f"{what}: it ended before, with {process.returncode}")
        return done
    e2e.wait_for(what, happened, guard)


class Result:
    def __init__(self, status, stdout, stderr):
        self.status, self.stdout, self.stderr = status, stdout, stderr
        self.lines = stderr.splitlines()


class World:
    """One folder, one text, one job over it."""

    known = {}  # what undisturbed runs wrote

    def __init__(self, place, folder=None):
        self.place, self.folder = place, folder or place.folder
        os.chmod(self.folder, 0o755)  # some runs are another user's
        self.build, self.long, self.model = place.build, place.nightly, place.nano
        self.source, self.out = self.path("in/text.txt"), self.path("out")
        self.options = ["--checkpoint-every", "8000", "--read-bytes", "4096", "--threads", "1"]

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    @property
    def output(self):
        return os.path.join(self.out, "text.jsonl")

    @property
    def store(self):
        return os.path.join(self.out, "state")

    # ---- Runs ----

    def call(self, arguments, steps=False, crash=None, user=None, file_bytes=None, descriptors=None):
        """Run to its end. user: as that uid. file_bytes: no file may grow beyond. descriptors: so many at most."""
        def before():
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
        environment = {k: v for k, v in os.environ.items() if k != "RIVERRUN_CRASH"}
        if crash:
            environment["RIVERRUN_CRASH"] = crash
        program = self.place.steps if steps else self.place.riverrun
        try:
            done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                                  env=environment, preexec_fn=before, timeout=e2e.HANG_S, check=False)
        except subprocess.TimeoutExpired:
            raise e2e.Failed(f"no end in {e2e.HANG_S} s: {arguments}") from None
        return Result(done.returncode, done.stdout.decode(errors="replace"),
                      done.stderr.decode(errors="replace"))

    def arguments(self, *more, model=None, quiet=True):
        return (["read", self.source, "--model", model or self.model, "-o", self.out,
                 "--name", "text"] + self.options + (["--quiet"] if quiet else []) + list(more))

    def read(self, *more, model=None, quiet=True, **how):
        return self.call(self.arguments(*more, model=model, quiet=quiet), **how)

    def start(self, *more, quiet=True):
        return self.place.start([self.place.riverrun] + self.arguments(*more, quiet=quiet))

    def said(self, process):
        errors = self.place.errors[process.pid]
        errors.seek(0)
        return errors.read().decode(errors="replace")

    def end(self, process, stop=False):
        """Wait for its end (stop: after SIGTERM)."""
        if stop:
            process.terminate()
        status = self.place.end_of(process)
        return Result(status, "", self.said(process))

    def interrupted(self, *more, commits=4):
        """Begin, and die when so many checkpoints are durable. How far the run is by then depends on
        the disk, so one that was through too early is begun anew."""
        for _ in range(8):
            result = self.read(*more, steps=True, crash=f"encode_committed:{commits}")
            if result.status == -signal.SIGKILL:
                return
            assert result.status == DONE, result.stderr
            shutil.rmtree(self.out)
        raise AssertionError(f"{commits} checkpoints were not made before the end, in 8 tries")

    def finish(self, *more, **how):
        """The same command to its end; returns the output."""
        result = self.read(*more, **how)
        assert result.status == DONE, f"status {result.status}: {result.stderr}"
        return get(self.output)

    def undisturbed(self, data, *more):
        """What a run over data without accidents writes, in a world of its own."""
        key = (data, more, self.model)
        if key not in World.known:
            other = World(self.place, tempfile.mkdtemp(dir=self.folder))
            other.model = self.model
            put(other.source, data)
            World.known[key] = other.finish(*more)
        return World.known[key]

    def status(self, stream="text"):
        result = self.call(["status", "-o", self.out, "--json"])
        assert result.status == DONE, result.stderr
        return [s for s in json.loads(result.stdout)["streams"] if s["stream"] == stream][0]

    # ---- Refusals ----

    def refused(self, status, words, *more, keep=(), **how):
        """The command ends with status and one line that has all words; what stands under the
        paths keep, and the output, is untouched."""
        keep = [self.path(k) if not os.path.isabs(k) else k for k in keep]
        before = [tree(k) if os.path.isdir(k) else get(k) for k in keep]
        output = get(self.output) if os.path.isfile(self.output) else None
        result = self.read(*more, **how)
        check_line(result, status, words)
        for path, was in zip(keep, before):
            now = tree(path) if os.path.isdir(path) else get(path)
            assert now == was, f"{path} was touched"
        if output is not None:
            assert os.path.isfile(self.output) and get(self.output) == output, "output was touched"
        return result


def check_line(result, status, words):
    """status, and exactly one line on stderr, which has all words."""
    print("    " + "\n    ".join(result.lines or ["(nothing on stderr)"]))
    assert result.status == status, f"status {result.status}, want {status}"
    assert len(result.lines) == 1, f"{len(result.lines)} lines, want 1"
    line = result.lines[0]
    assert line.startswith("riverrun: ") and result.stderr.endswith("\n")
    for word in words:
        assert word in line, f"'{word}' is missing"


def fixture(world, size=200000, commits=4, seed=1, options=()):
    """A run that was killed in the middle: the text and what an undisturbed run writes."""
    data = text(size, seed)
    put(world.source, data)
    want = world.undisturbed(data, *options)
    world.interrupted(*options, commits=commits)
    return data, want


def case(test, place):
    """test as a case of e2e.main: what it asserts is told like any failure."""
    print(f"{test.__name__}:", flush=True)
    try:
        test(World(place))
    except AssertionError:
        raise e2e.Failed(traceback.format_exc()) from None


def main(names):
    cases = [functools.update_wrapper(functools.partial(case, test), test)
             for name, test in names.items() if name.startswith("test_")]
    return e2e.main(cases)
