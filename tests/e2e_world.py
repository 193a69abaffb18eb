"""What the end-to-end tests of bad input and bad luck share: texts, runs, refusals, interruptions.

A test script is called with the build folder and ../shared, defines functions test_<what holds>(world),
and ends with `e2e_world.main(globals())`. Each function gets a fresh folder. Runs are interrupted at a
named step of the protocol (riverrun_steps, RIVERRUN_CRASH), not after a time, so that each stops at the
same place on every machine. The exit status is 77 where something was skipped and all else passed.
"""
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

# Exit statuses: schemas/err.h.
DONE, SYSTEM, USAGE, STOPPED, INPUT, ABSENT, SOURCE, CHANGED, MODEL = 0, 1, 2, 3, 6, 7, 10, 11, 12
MISMATCH, SINK, FULL, DAMAGED, VERSION, BUSY, SOME = 13, 14, 15, 16, 17, 18, 19

GUARD_SECONDS = 120  # of one run: far more than it needs, so that a hang ends
NOBODY = 65534


class Skip(Exception):
    """Cannot be shown here; the sentence says why."""


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
    with open(path, "wb") as file:
        file.write(data)


def get(path):
    with open(path, "rb") as file:
        return file.read()


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
    return [json.loads(line) for line in get(path).decode().splitlines()]


def wait_until(true, what, process=None, guard=GUARD_SECONDS):
    """Poll for an event in the world; a guard, not a measure, ends it."""
    end = time.monotonic() + guard
    while not true():
        if process and process.poll() is not None:
            raise AssertionError(f"{what}: it ended before, with {process.returncode}")
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {guard} s")
        time.sleep(0.005)


class Result:
    def __init__(self, status, stdout, stderr):
        self.status, self.stdout, self.stderr = status, stdout, stderr
        self.lines = stderr.splitlines()


class World:
    """One folder, one text, one job over it."""

    known = {}  # what undisturbed runs wrote

    def __init__(self, build, shared, folder):
        self.build, self.shared, self.folder = build, shared, folder
        self.model = os.path.join(build, "tests/nano.safetensors")
        self.source = os.path.join(folder, "in/text.txt")
        self.out = os.path.join(folder, "out")
        self.long = os.environ.get("RIVERRUN_LONG") == "1"  # the nightly sizes
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

    def command(self, arguments, steps=False):
        return [os.path.join(self.build, "riverrun_steps" if steps else "riverrun")] + arguments

    def call(self, arguments, steps=False, crash=None, user=None, file_bytes=None, guard=None):
        """Run to its end. user: as that uid. file_bytes: no file may grow beyond."""
        environment = {k: v for k, v in os.environ.items() if k != "RIVERRUN_CRASH"}
        if crash:
            environment["RIVERRUN_CRASH"] = crash

        def before():
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
        done = subprocess.run(self.command(arguments, steps), stdin=subprocess.DEVNULL,
                              capture_output=True, env=environment, preexec_fn=before,
                              timeout=guard or GUARD_SECONDS)
        return Result(done.returncode, done.stdout.decode(errors="replace"),
                      done.stderr.decode(errors="replace"))

    def arguments(self, *more, model=None, quiet=True):
        return (["read", self.source, "--model", model or self.model, "-o", self.out,
                 "--name", "text"] + self.options + (["--quiet"] if quiet else []) + list(more))

    def read(self, *more, model=None, quiet=True, **how):
        return self.call(self.arguments(*more, model=model, quiet=quiet), **how)

    def start(self, *more, quiet=True):
        return subprocess.Popen(self.command(self.arguments(*more, quiet=quiet)),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE)

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
            other = World(self.build, self.shared, tempfile.mkdtemp(dir=self.folder))
            other.model = self.model
            put(other.source, data)
            World.known[key] = other.finish(*more)
        return World.known[key]

    def status(self, stream="text"):
        result = self.call(["status", "-o", self.out, "--json"])
        assert result.status == DONE, result.stderr
        return [s for s in json.loads(result.stdout)["streams"] if s["stream"] == stream][0]

    def shared_file(self, *parts):
        path = os.path.join(self.shared, *parts)
        if not os.path.exists(path):
            raise Skip(f"{path} is not there")
        return path

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


def main(names, build=None, shared=None):
    build, shared = build or sys.argv[1], shared or sys.argv[2]
    wanted = sys.argv[3:]
    failed = skipped = 0
    for name, test in list(names.items()):
        if not name.startswith("test_") or (wanted and name not in wanted):
            continue
        folder = tempfile.mkdtemp(prefix="riverrun-")
        os.chmod(folder, 0o755)
        begin = time.monotonic()
        print(f"{name}:", flush=True)
        try:
            test(World(os.path.abspath(build), os.path.abspath(shared), folder))
            print(f"    ok, {time.monotonic() - begin:.1f} s", flush=True)
        except Skip as why:
            skipped += 1
            print(f"skipped: {why}", flush=True)
        except Exception:  # a test's failure must not hide the others
            failed += 1
            print(f"    FAILED: {traceback.format_exc()}", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failed else 77 if skipped else 0)
