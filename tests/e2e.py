"""e2e.py: what the end-to-end tests share. They are started as

    test_e2e_SUBJECT.py BUILD SHARED [--nightly] [--seed N] [CASE...]

and run each function of their module whose name is no helper's, in a scratch folder of its own that is
removed at the end. A test waits for what happens (a figure of `status --json`, a file that grows, a
process that ends), never for time to pass; HANG_S only keeps a hanging program from hanging the suite (longer under sanitizers).
What a test starts it ends by its process id.
"""
import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import unicodedata

import validate_records

DEAR = int(os.environ.get("RIVERRUN_DEAR", "1"))  # above 1: a run costs so many times as much (sanitizers, emulators)
HANG_S = 120 if DEAR == 1 else 1200
SKIPPED = 77
USAGE, STOPPED, SOURCE_CHANGED, OTHER_SETTINGS, IN_USE, SOME_FAILED = 2, 3, 11, 13, 18, 19  # exit statuses
STAGES = ("ingest", "tokenize", "encode", "emit")


class Failed(Exception):
    """What a test found wrong."""


class Skip(Exception):
    """Why a test cannot be run here."""


def check(holds, what):
    if not holds:
        raise Failed(what)


def wait_for(what, happened, guard_s=HANG_S):
    """Poll until happened() is true; returns what it returned."""
    until = time.monotonic() + guard_s
    while True:
        value = happened()
        if value:
            return value
        check(time.monotonic() < until, f"{guard_s} s passed without: {what}")
        time.sleep(0.001)


# ---- Texts ----

WORDS = ("river run past Eve and Adam from swerve of shore to bend of bay brings us by commodius vicus "
         "recirculation back Ωκεανός ποταμός река течёт мимо dòng sông 川の流れは 江水 東流 نهر يجري "
         "naïve façade Ångström e\u0301tude o\u0308de u\u0323\u0307 \u1e0b\u0323 한국어 \u1112\u1161\u11ab "
         "\U0001f30a \U0001f469\u200d\U0001f680 \U0001f1eb\U0001f1ee ﬁn ½ "
         "don't \"quoted\\\" tab\there zero\u200bwidth").split(" ")


def generated_text(seed, size, invalid=True):
    """Paragraphs with CRLF and LF, blank lines of blanks, long lines, many scripts, combining marks,
    and (invalid) bytes that are no UTF-8; the same for the same arguments."""
    rng, parts, length = random.Random(seed), [], 0
    while length < size:
        kind, end = rng.random(), rng.choice((b"\n", b"\n", b"\r\n"))
        if kind < 0.03:
            words = rng.choices(WORDS, k=rng.randint(500, 3000))  # one long line
        else:
            words = rng.choices(WORDS, k=rng.randint(1, 14))
        line = " ".join(words).encode()
        if invalid and kind > 0.97:
            at = rng.randrange(len(line) + 1)
            line = line[:at] + rng.choice((b"\xff\xfe", b"\xe2\x82", b"\x00", b"\xed\xa0\x80")) + line[at:]
        blank = rng.choice((b"", b"", b"", end, end + b" \t" + end, end + end))
        parts.append(line + end + blank)
        length += len(parts[-1])
    return b"".join(parts)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


# ---- Jobs ----

class Job:
    """One job: what is read with which model, where the records go, how they stand."""

    def __init__(self, place, name, inputs, model=None, options=()):
        self.place, self.inputs = place, [inputs] if isinstance(inputs, str) else list(inputs)
        self.model, self.options = model or place.nano, list(options)
        self.output = place.path(name)
        self.store = os.path.join(self.output, "state")
        self.kills = self.runs = 0

    def command(self, *more, program=None):
        return [program or self.place.riverrun, "read", *self.inputs, "--model", self.model, "-q", "-o",
                self.output, *self.options, *more]

    def start(self, *more, program=None, crash=None, stdin=subprocess.DEVNULL):
        self.runs += 1
        return self.place.start(self.command(*more, program=program), crash=crash, stdin=stdin)

    def run(self, *more, want=0, **how):
        """Run it to its end; returns the exit status, which must be want (or one of want)."""
        process = self.start(*more, **how)
        status = self.place.end_of(process)
        wanted = (want,) if isinstance(want, int) else want
        check(status in wanted, f"exit status {status} instead of {want} "
              f"({' '.join(process.args)}): {self.place.said(process)}")
        return status

    def status(self):
        """Of the only stream, or None while there is none."""
        streams = self.statuses()
        return streams[0] if streams else None

    def answer(self):
        done = subprocess.run([self.place.riverrun, "status", "--json", "--store", self.store],
                              capture_output=True, check=False, timeout=HANG_S)
        return json.loads(done.stdout) if done.returncode == 0 else {"streams": []}

    def statuses(self):
        return self.answer()["streams"]

    def control(self, verb, *names, want=0):
        done = subprocess.run([self.place.riverrun, verb, *(names or ["--all"]), "--store", self.store],
                              capture_output=True, check=False, timeout=HANG_S)
        check(done.returncode == want, f"{verb}: exit status {done.returncode}: {done.stderr.decode()}")

    def wait_tokens(self, process, tokens):
        """True when process says that so many tokens (of all streams) are done, which it can only when it
        is past its start; False when it ended first."""
        def there():
            if process.poll() is not None:
                return "ended"
            answer = self.answer()
            return (answer.get("pid") == process.pid and
                    sum(one["tokens"] for one in answer["streams"]) >= tokens and "there")
        return wait_for(f"{tokens} tokens", there) == "there"

    def kill(self, process):
        """kill -9; True when the process was still alive."""
        alive = process.poll() is None
        self.place.kill(process)
        self.kills += alive
        return alive

    def records(self):
        """Name of the file: its bytes, for every output file."""
        return {name: read(os.path.join(self.output, name)) for name in sorted(os.listdir(self.output))
                if name.endswith(".jsonl")}

    def validate(self, size=None, base=0):
        for name in self.records():
            wrong = validate_records.validate(os.path.join(self.output, name), size=size, base=base)
            check(not wrong, f"{name}: {wrong[:3]}")

    def copy(self, name):
        """The same job as it stands now, in another folder."""
        other = Job(self.place, name, self.inputs, self.model, self.options)
        if os.path.exists(self.output):
            shutil.copytree(self.output, other.output, ignore=shutil.ignore_patterns("control"))
        return other


class Follow(Job):
    """A job whose sources grow: it ends when it is stopped."""

    def command(self, *more, program=None):
        command = super().command(*more, program=program)
        command[1] = "follow"
        return command


class Pipe:
    """The same job as four processes."""

    def __init__(self, job, ingest=(), program=None):
        self.job, self.place, self.program = job, job.place, program or job.place.riverrun
        self.ends = [f"ipc://{job.output}.{letter}" for letter in "abc"]
        self.running, self.ingest = {}, list(ingest)

    def command(self, stage):
        at, job = STAGES.index(stage), self.job
        encode = [option for option in job.options]
        words = {"ingest": [*job.inputs, *self.ingest], "tokenize": [], "emit": ["-o", job.output],
                 "encode": ["--model", job.model, "--store", job.store, *encode]}[stage]
        if stage == "tokenize" and "--vocab" in encode:
            words = ["--vocab", encode[encode.index("--vocab") + 1]]
        if stage == "encode" and "--vocab" in encode:
            vocab = words.index("--vocab")
            del words[vocab:vocab + 2]
        up = [] if at == 0 else ["--connect", self.ends[at - 1]]
        down = [] if at == 3 else ["--listen", self.ends[at]]
        return [self.program, "stage", stage, *words, *up, *down, "-q"]

    def start(self, *stages, crash=None, stdin=subprocess.DEVNULL):
        os.makedirs(self.job.output, exist_ok=True)
        for stage in stages or STAGES:
            self.running[stage] = self.place.start(self.command(stage), crash=crash,
                                                   stdin=stdin if stage == "ingest" else None)
        return self

    def kill(self, stage):
        alive = self.running[stage].poll() is None
        self.place.kill(self.running[stage])
        return alive

    def end(self, want=0):
        """Encode's end is the run's: its exit status must be want. The others hear its goodbye; one that
        was started too late for it is told."""
        status = self.place.end_of(self.running["encode"])
        check(status == want, f"encode: exit status {status}: {self.place.said(self.running['encode'])}")
        for stage, process in self.running.items():
            if stage != "encode":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(2)
                if process.poll() is None:
                    process.terminate()
                status = self.place.end_of(process)
                check(status in (0, STOPPED, -signal.SIGTERM), f"{stage}: exit status {status}")

    def run(self, **how):
        self.start(**how).end()


class Place:
    """Where a test works: the programs, the models, a scratch folder, and the processes it started."""

    def __init__(self, arguments, folder):
        self.build, self.shared, self.folder = arguments.build, arguments.shared, folder
        self.nightly, self.seed = arguments.nightly, arguments.seed
        self.riverrun, self.steps = (os.path.join(self.build, name) for name in ("riverrun", "riverrun_steps"))
        self.nano = os.path.join(self.build, "tests/nano.safetensors")
        self.processes, self.errors = [], {}
        for needed in (self.riverrun, self.steps, self.nano):
            check(os.path.exists(needed), f"{needed} is not built")

    def times(self, day, nightly=None):
        """How often to try what is random."""
        return nightly if self.nightly and nightly else -(-day // DEAR)

    def path(self, name):
        return os.path.join(self.folder, name)

    def text(self, name, data):
        return write(self.path(name), data)

    def of_shared(self, name):
        path = os.path.join(self.shared, name)
        if not os.path.exists(path):
            raise Skip(f"{name} is not there")
        return path

    def book(self, name):
        """One of shared, or where a run is dear the beginning of it."""
        path = self.of_shared("data/books/" + name)
        return path if DEAR == 1 else self.text(name, read(path)[:os.path.getsize(path) // DEAR])

    def start(self, command, crash=None, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, more=()):
        """more: of the environment."""
        environment = {name: value for name, value in os.environ.items() if name != "RIVERRUN_CRASH"}
        environment.update(more)
        if crash:
            environment["RIVERRUN_CRASH"] = crash
        errors = tempfile.TemporaryFile(dir=self.folder)
        process = subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL, stdout=stdout, stderr=errors,
                                   env=environment)
        self.processes.append(process)
        self.errors[process.pid] = errors
        return process

    def end_of(self, process):
        try:
            return process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"no end in {HANG_S} s: {process.args[1:3]}: {self.said(process)}") from None

    def said(self, process, most=600):
        errors = self.errors[process.pid]
        errors.seek(0)
        return errors.read().decode(errors="replace")[-most:]

    def kill(self, process):
        if process.poll() is None:
            process.kill()
            process.wait()

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                self.kill(process)
        for errors in self.errors.values():
            errors.close()


def as_a_feed(data, period=10000):
    """What `follow` writes of what `read` wrote: without the document's record, and the summary of a period that the end
    cut short of its lines."""
    *lines, document = data.splitlines(keepends=True)
    check(json.loads(document)["kind"] == "document", "no document's record at the end")
    last = json.loads(lines[-1])
    if last["kind"] == "summary" and last["lines"] < period:
        lines.pop()
    return b"".join(lines)


def same(job, want, what):
    """The job's output is want, byte for byte, or the first difference is told."""
    got = job.records()
    check(sorted(got) == sorted(want), f"{what}: files {sorted(got)} instead of {sorted(want)}")
    for name, data in got.items():
        if data == want[name]:
            continue
        at = next((i for i, (a, b) in enumerate(zip(data, want[name])) if a != b),
                  min(len(data), len(want[name])))
        raise Failed(f"{what}: {name} differs at byte {at} (line {data[:at].count(10) + 1}; {len(data)} "
                     f"bytes, {len(want[name])} wanted): {data[at:at + 60]!r}, {want[name][at:at + 60]!r}")


def undisturbed(place, name, inputs, model=None, options=(), size=None):
    """The records of a run that nobody disturbs, validated."""
    job = Job(place, name, inputs, model, options)
    job.run()
    job.validate(size)
    return job


def make_model(place, name, *options):
    path = place.path(name)
    subprocess.run([os.path.join(place.build, "tests/make_nano"), *options, "-o", path], check=True)
    return path


def normalized(data):
    return unicodedata.normalize("NFC", data.decode()).encode()


def cpu_s(pid):
    fields = read(f"/proc/{pid}/stat").rsplit(b")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid, field="RssAnon"):
    for line in read(f"/proc/{pid}/status").decode().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise Failed(f"no {field} of process {pid}")


def main(cases):
    """Run the cases (or those named); the exit status: 0, 1, or 77 when one had to be skipped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("shared")
    parser.add_argument("--nightly", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_intermixed_args()
    # Behind `&`, or nohup, these are ignored, and so they would be by what is started from here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    status = 0
    for case in cases:
        if arguments.cases and case.__name__ not in arguments.cases:
            continue
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="riverrun-e2e-") as folder:
            place = None
            try:
                place = Place(arguments, folder)
                said = case(place) or ""
                print(f"ok: {case.__name__} ({time.monotonic() - begin:.1f} s) {said}", flush=True)
            except Skip as why:
                print(f"skipped: {case.__name__}: {why}", flush=True)
                status = status or SKIPPED
            except Failed as why:
                print(f"FAILED: {case.__name__} (--seed {arguments.seed}): {why}", flush=True)
                status = 1
            finally:
                if place:
                    place.close()
    return status
