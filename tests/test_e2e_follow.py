#!/usr/bin/python3
"""`riverrun follow` while its file grows, is rotated, compressed and truncated, and the program is killed:
the records are, byte for byte, those of an undisturbed reading of all lines that were written.

The world is one log whose every line has its number. Rotation is done as logrotate does it, by rename and
create or by copy and truncate, and old files are compressed; nobody waits for the reader but where a case
says so."""
import bz2
import collections
import gzip
import json
import lzma
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading

from e2e import OTHER_SETTINGS, STAGES, STOPPED, Follow, Job, Pipe, as_a_feed, check, main, read, wait_for, write

RECORD_LEAST = 100  # bytes: no record is shorter
QUICK = ["--unit", "line", "--checkpoint-seconds", "0.3"]
PACKERS = {"": None, ".gz": lambda data: gzip.compress(data, 1), ".bz2": lambda data: bz2.compress(data, 1),
           ".xz": lambda data: lzma.compress(data, preset=0), ".zst": None}


class FollowOne(Follow):
    def written(self):
        """Bytes of the only output."""
        path = os.path.join(self.output, "log.jsonl")
        return os.path.getsize(path) if os.path.exists(path) else 0


class Log:
    """The log, its rotation, and all that was written."""

    def __init__(self, place, name, rng):
        self.folder = place.path(name)
        os.makedirs(self.folder)
        self.path = os.path.join(self.folder, "app.log")
        self.rng, self.lines, self.rotations = rng, [], 0
        self.file = open(self.path, "ab", buffering=0)

    def write(self, count):
        """Whole lines, in one write or some."""
        lines = [b"%d %s\n" % (len(self.lines) + i, b"abcdefgh"[:self.rng.randrange(9)]) for i in range(count)]
        self.lines += lines
        while lines:
            some = self.rng.randint(1, count)
            self.file.write(b"".join(lines[:some]))
            lines = lines[some:]

    def old(self):
        """Number and ending of the rotated ones, the oldest first."""
        found = []
        for name in os.listdir(self.folder):
            parts = name[len("app.log."):].split(".")
            if name != "app.log":
                found.append((int(parts[0]), "." + parts[1] if len(parts) > 1 else ""))
        return sorted(found, reverse=True)

    def make_room(self):
        for number, ending in self.old():
            os.rename(f"{self.path}.{number}{ending}", f"{self.path}.{number + 1}{ending}")

    def rename(self):
        self.make_room()
        os.rename(self.path, self.path + ".1")
        self.file.close()
        self.file = open(self.path, "ab", buffering=0)
        self.rotations += 1

    def copy_and_truncate(self):
        self.make_room()
        shutil.copyfile(self.path, self.path + ".1")
        os.truncate(self.path, 0)
        self.rotations += 1

    def compress(self):
        """One of the rotated, as gzip and the like do: aside, with its times, then the plain one goes."""
        plain = [number for number, ending in self.old() if not ending]
        if not plain:
            return
        number, ending = self.rng.choice(plain), self.rng.choice(list(PACKERS))
        path = f"{self.path}.{number}"
        if ending == ".zst":
            subprocess.run(["zstd", "-q", "--rm", path], check=True)
        elif ending:
            with open(path + ending, "wb") as file:
                file.write(PACKERS[ending](read(path)))
            if self.rng.random() < 0.5:
                shutil.copystat(path, path + ending)
            os.unlink(path)


def undisturbed(place, name, lines, period=10000):
    """The records of all lines, but for those of an end, which a feed has none of."""
    job = Job(place, name, place.text(name + ".txt", b"".join(lines)),
              options=[*QUICK, "--name", "log", "--summary-lines", str(period)])
    job.run()
    job.validate()
    return as_a_feed(job.records()["log.jsonl"], period)


def compare(job, want, what):
    got = job.records()["log.jsonl"]
    if got == want:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    check(False, f"{what}: differs at byte {at} of {len(got)} ({len(want)} wanted): {got[at - 80:at + 200]!r} "
          f"instead of {want[at - 80:at + 200]!r}")


def stop(job, process):
    process.send_signal(signal.SIGTERM)
    status = job.place.end_of(process)
    check(status == STOPPED, f"stopped with {status}: {job.place.said(process)}")


def read_on(job, process, size):
    """Wait until so much was written, or process ended; what it is then."""
    wait_for(f"{size} bytes of records, more than {job.written()}: {job.place.said(process)}",
             lambda: job.written() >= size or process.poll() is not None)
    check(process.poll() in (None, -signal.SIGKILL), f"ended: {job.place.said(process)}")
    return process.poll() is None


def disturbed(place, rotate, name, goal, period=10000):
    """So many lines in bursts, with rotations, compression, kills and restarts among them. Returns what was done."""
    rng = random.Random(place.seed)
    log = Log(place, name + "-logs", rng)
    job = FollowOne(place, name, log.path, options=[*QUICK, "--name", "log", "--summary-lines", str(period)])
    process, kills, crashes = job.start(), 0, 0
    log.write(1)
    read_on(job, process, 1)  # a feed begins with the file that is there when it is first looked at
    while len(log.lines) < goal:
        log.write(min(rng.randint(1, goal // 100), goal - len(log.lines)))
        if rng.random() < 0.4:
            rotate(log)
        if rng.random() < 0.3:
            log.compress()
        if rng.random() < 0.4:
            more = job.written() + rng.randrange(1, 20000)
            read_on(job, process, min(more, RECORD_LEAST * len(log.lines)))
        if process.poll() is not None:  # at a step
            crashes += 1
            process = job.start()
        elif rng.random() < 0.3:
            kills += job.kill(process)
            step = rng.choice(("ingest_journal:1", "ingest_journal:2", "ingest_opened:1", None, None))
            process = job.start(program=place.steps if step else None, crash=step)
    want = undisturbed(place, name + "-undisturbed", log.lines, period)
    while not read_on(job, process, len(want)):
        crashes += 1
        process = job.start()
    stop(job, process)
    compare(job, want, name)
    check(kills + crashes >= 3 and log.rotations >= 10, f"{kills} kills, {log.rotations} rotations alone")
    packed = sum(ending != "" for _, ending in log.old())
    kinds = collections.Counter(re.findall(rb'"kind":"(\w+)"', want))
    check(kinds[b"line"] == goal and kinds[b"summary"] == goal // period, f"{kinds}")
    return (f"{goal} lines, {kinds[b'alert']} alerts, {kinds[b'summary']} summaries, {log.rotations} rotations, "
            f"{packed} compressed, {kills} kills, {crashes} crashes at steps")


def renamed_and_killed(place):
    return disturbed(place, Log.rename, "renamed", 100000 if place.nightly else 15000)


def copied_and_killed(place):
    """Nothing is written during copy and truncate: nothing may be missing."""
    return disturbed(place, Log.copy_and_truncate, "copied", 100000 if place.nightly else 15000)


def either_and_killed(place):
    """With rolling summaries: what a period has gathered so far goes on where it was, too."""
    return disturbed(place, lambda log: log.rng.choice((Log.rename, Log.copy_and_truncate))(log), "either",
                     1000000 if place.nightly else 50000, period=700)


def one_of_four_processes_is_killed(place):
    """Ingest, or whoever it talks to: what was read of files that rotated meanwhile is read again."""
    rng = random.Random(place.seed)
    log = Log(place, "four-logs", rng)
    job = FollowOne(place, "four", log.path, options=["--follow", *QUICK])
    pipe = Pipe(job, ingest=("--follow", "--store", job.store, "--name", "log"), program=place.steps)
    goal, deaths = 100000 if place.nightly else 8000, 0
    log.write(1)
    pipe.start()
    wait_for("the first record", lambda: job.written() > 0)
    while len(log.lines) < goal:
        log.write(min(rng.randint(1, goal // 40), goal - len(log.lines)))
        if rng.random() < 0.5:
            rng.choice((Log.rename, Log.copy_and_truncate))(log)
        if rng.random() < 0.3:
            log.compress()
        stage = rng.choice(("ingest", "ingest", *STAGES))
        if rng.random() < 0.5:
            pipe.kill(stage)
        if pipe.running[stage].poll() is not None:
            deaths += 1
            crash = rng.choice(("ingest_journal:1", "ingest_read:9", None)) if stage == "ingest" else None
            pipe.start(stage, crash=crash)
    want = undisturbed(place, "four-undisturbed", log.lines)

    def there():
        for stage in STAGES:
            if pipe.running[stage].poll() is not None:
                pipe.start(stage)
        return job.written() >= len(want)

    wait_for("all records", there)
    pipe.running["encode"].terminate()
    pipe.end(want=STOPPED)
    compare(job, want, "four processes")
    return f"{goal} lines, {log.rotations} rotations, {deaths} deaths"


def whole_ones(records, log, kept):
    """Without what was read of a line that was cut off before it was whole, and is in no file."""
    whole, next_line = [], log.lines[0]
    for line in records:
        if next_line not in kept and next_line.startswith(line) and next_line.rstrip() != line:
            continue
        whole.append(line)
        next_line = log.lines[min(int(line.split(b" ")[0]) + 1, len(log.lines) - 1)]
    return whole


def copied_while_it_is_written(place):
    """What copytruncate loses by itself: lines between its copy and its truncation. Lines that no record
    has are in none of the files either."""
    rng = random.Random(place.seed)
    log = Log(place, "raced-logs", rng)
    job = FollowOne(place, "raced", log.path, options=[*QUICK, "--name", "log"])
    process, goal, over = job.start(), 300000 if place.nightly else 30000, threading.Event()

    def writer():
        while len(log.lines) < goal:
            log.write(rng.randint(1, 50))
            wait_for("the reader to follow", lambda: len(log.lines) < 500 or job.written() > 1000)
        over.set()

    thread = threading.Thread(target=writer)
    thread.start()
    while not over.is_set():
        size = job.written()
        wait_for("something new", lambda: job.written() > size + 2000 or over.is_set())
        log.copy_and_truncate()
    thread.join()
    log.write(1)  # the last line is in no race
    last = log.lines[-1].decode().rstrip()
    wait_for("the last line", lambda: job.written() and f'"text":"{last}"'.encode() in read(
        os.path.join(job.output, "log.jsonl")))
    stop(job, process)
    kept, torn = set(read(log.path).splitlines(keepends=True)), set()
    for number, ending in log.old():
        lines = read(f"{log.path}.{number}{ending}").splitlines(keepends=True)
        kept.update(lines)
        torn.update(line.rstrip() for line in lines[-1:] if not line.endswith(b"\n"))  # copied while written
    records = [json.loads(line) for line in job.records()["log.jsonl"].splitlines()]
    records = [one["text"].encode() for one in records if one["kind"] == "line"]
    records = whole_ones([line for line in records if line not in torn], log, kept)
    numbers = [int(line.split(b" ")[0]) for line in records]
    check(all(a < b for a, b in zip(numbers, numbers[1:])), "out of order, or twice")
    wrong = [(line, log.lines[n]) for n, line in zip(numbers, records) if log.lines[n].rstrip() != line]
    check(not wrong, f"lines that were never written: {wrong[:5]}")
    there = set(numbers)
    missing = [n for n in range(len(log.lines)) if n not in there]
    unread = [n for n in missing if log.lines[n] in kept]
    check(not unread, f"{len(unread)} of {len(missing)} missing lines are in the files: {unread[:5]}")
    return f"{len(log.lines)} lines, {log.rotations} rotations, {len(missing)} lines lost by copytruncate"


def what_is_not_there_yet_is_said(place):
    """A wrong path waits for ever: each is named once, and what is there is not."""
    there, folder, nothing = place.text("there.log", b"a\n"), place.path("full"), place.path("nothing")
    os.mkdir(folder)
    os.mkdir(nothing)
    write(os.path.join(folder, "b.log"), b"b\n")
    absent, pattern = os.path.join(folder, "c.log"), os.path.join(folder, "*.txt")
    job = FollowOne(place, "waits", [there, absent, pattern, nothing, folder, os.path.join(folder, "b*")])
    process = place.start([word for word in job.command() if word != "-q"])
    wait_for("what is there", lambda: len(job.statuses()) >= 2)
    write(absent, b"c\n")
    wait_for("what came", lambda: len(job.statuses()) == 3)
    process.send_signal(signal.SIGTERM)
    status, said = place.end_of(process), place.said(process, 9000)
    check(status == STOPPED, f"stopped with {status}: {said}")
    missing = [line for line in said.splitlines() if "waiting for one" in line]
    check(missing == [f"riverrun: there is no {what} yet: waiting for one"
                      for what in (f"'{absent}'", f"'{pattern}'", f"file in '{nothing}'")], missing)


def no_job_follows_what_jobs_write(place):
    """Into the folder that is followed; below it, made by the run itself, its store elsewhere; two jobs at once."""
    def job(name, inputs, *options):
        return FollowOne(place, name, [place.path(inputs)], options=["--max-latency", "100", *options])
    worlds = {"same": [job("same", "same/*")], "folder": [job("folder", "folder")],
              "below": [job("below/out", "below", "--store", place.path("below/st"))],
              "two": [job("two/one", "two"), job("two/other", "two/")]}
    for name, jobs in worlds.items():
        log = os.path.join(place.path(name), "a.log")
        os.mkdir(place.path(name))
        write(log, b"")
        running = [(job, place.start(job.command())) for job in jobs]
        for count in range(1, 9):
            with open(log, "ab") as file:
                file.write(b"line %d\n" % count)
            for one, process in running:
                wait_for(f"line {count}: {place.said(process)}",
                         lambda one=one, count=count: os.path.isdir(one.output) and any(
                             b"line %d" % count in records for records in one.records().values()))
        for one, process in running:
            stop(one, process)
            made = sorted(one.records())
            check(len(made) == 1 and made[0].endswith("a.log.jsonl"), f"{name}: {made}")
            named = FollowOne(place, os.path.relpath(one.output, place.folder), [os.path.join(one.output, made[0])])
            process = place.start(named.command())
            check(place.end_of(process) == 2 and named.inputs[0] in place.said(process), place.said(process))
        with place.start(job("again", name).command("--sink", "stdout"), stdout=subprocess.PIPE) as process:
            lines = [process.stdout.readline() for _ in range(8)]
            process.send_signal(signal.SIGTERM)
            lines += process.stdout.readlines()
            check(len(lines) == 8 and all(b'+a.log"' in line for line in lines), f"{name}, read by another: {lines}")
        shutil.rmtree(place.path("again"))


def it_ends_where_nothing_can_come(place):
    """Every file that is named has failed; a folder may have others."""
    one, two = place.text("one.log", b"a\n"), place.text("two.log", b"b\n")
    for path, job in ((one, Job(place, "out", one)), (two, Job(place, "out", two))):
        job.run()
    for named in ([one], [one, two]):
        process = place.start(Follow(place, "out", named).command())
        status, said = place.end_of(process), place.said(process)
        check(status == OTHER_SETTINGS and said.count("begun with --unit paragraph") == len(named), f"{status}: {said}")
    folder = place.path("folder")
    os.mkdir(folder)
    for named in ([one, folder], [one, place.path("none.log")]):
        job = Follow(place, "out", named)
        process = place.start(job.command())
        wait_for("its failure", lambda: "begun with" in place.said(process))
        write(os.path.join(folder, "new.log") if folder in named else named[1], b"c\n")
        wait_for("what came", lambda: any(s["records"] == 1 and s["state"] == "running" for s in job.statuses()))
        process.send_signal(signal.SIGTERM)
        check(place.end_of(process) == STOPPED, place.said(process))


def files_come_and_go_with_few_descriptors(place):
    """Many more than may be open, never more than two at a time: each is read, and none is kept open for ever."""
    folder, count = place.path("jobs"), 150
    os.mkdir(folder)
    job = Follow(place, "out", folder, options=["--max-latency", "0.1"])
    process = place.start(["/bin/sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *job.command()])
    wait_for("the run", lambda: job.answer().get("pid"))
    for i in range(count):
        path = os.path.join(folder, f"{i:03}.log")
        write(path, f"what job {i} did\n".encode())
        records = os.path.join(job.output, path[1:].replace("/", "+") + ".jsonl")
        wait_for(f"the record of {path}; {place.said(process)}", lambda: os.path.exists(records) and read(records))
        if i:
            os.remove(os.path.join(folder, f"{i - 1:03}.log"))
    process.send_signal(signal.SIGTERM)
    check(place.end_of(process) == STOPPED and "error" not in place.said(process), place.said(process))
    return f"{count} files"


def files_and_outputs_share_the_descriptors(place):
    """So many files that outputs get few: all are read, and what comes later too."""
    folder, count = place.path("jobs"), 120
    os.mkdir(folder)
    for i in range(count):
        write(os.path.join(folder, f"{i:03}.log"), b"one\ntwo\n")
    job = Follow(place, "out", folder, options=["--max-latency", "0.1"])
    process = place.start(["/bin/sh", "-c", f'ulimit -n {count + 60}; exec "$@"', "sh", *job.command()])
    for lines in (2, 3):
        wait_for(f"{lines} records of each; {place.said(process)}",
                 lambda n=lines: [s["records"] for s in job.statuses()] == [n] * count)
        for i in range(count):
            with open(os.path.join(folder, f"{i:03}.log"), "ab") as file:
                file.write(b"three\n")
    process.send_signal(signal.SIGTERM)
    check(place.end_of(process) == STOPPED and "error" not in place.said(process), place.said(process))
    return f"{count} files"


CASES = (what_is_not_there_yet_is_said, files_come_and_go_with_few_descriptors, files_and_outputs_share_the_descriptors, it_ends_where_nothing_can_come, no_job_follows_what_jobs_write, renamed_and_killed, copied_and_killed,
         either_and_killed, one_of_four_processes_is_killed, copied_while_it_is_written)

if __name__ == "__main__":
    sys.exit(main(CASES))
