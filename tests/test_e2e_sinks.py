#!/usr/bin/python3
"""Where records go, and when they are durable: standard output, which cannot be exactly-once, and --sync."""
import json
import os
import random
import signal
import subprocess
import sys

from e2e import STOPPED, Job, Pipe, Skip, check, generated_text, main, same, undisturbed, wait_for, write

SINK, USAGE = 14, 2
OPTIONS = ["--unit", "line", "--checkpoint-seconds", "0.05", "--checkpoint-every", "2000"]
STDOUT = ["--sink", "stdout"]


def folder_of_texts(place, count=3, size=12000):
    folder = place.path("texts")
    os.makedirs(folder)
    for i in range(count):
        write(os.path.join(folder, f"{i}.txt"), generated_text(place.seed + i, size * (i + 1)))
    return folder


def by_stream(data, torn=False):
    """Lines by stream, in their order. torn: a line may be a part of one; it is dropped."""
    streams = {}
    for line in data.split(b"\n")[:-1] if data.endswith(b"\n") or not torn else data.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            check(torn, f"not a record: {line[:80]!r}")
            continue
        streams.setdefault(record["stream"], []).append((record["seq"], line))
    return streams


def as_files(streams):
    """What a reader has who drops what he has already: repeats must be the same bytes."""
    files, repeats = {}, 0
    for name, lines in streams.items():
        known = {}
        for seq, line in lines:
            check(known.get(seq, line) == line, f"record {seq} of {name} came again and differs")
            repeats += seq in known
            check(seq in known or seq == len(known), f"record {seq} of {name} came when {len(known)} was due")
            known[seq] = line
        files[name + ".jsonl"] = b"".join(known[seq] + b"\n" for seq in sorted(known))
    return files, repeats


def tokens(job):
    return sum(one["tokens"] for one in job.statuses())


def same_files(got, want, what):
    check(sorted(got) == sorted(want), f"{what}: {sorted(got)} instead of {sorted(want)}")
    for name in want:
        check(got[name] == want[name], f"{what}: {name} differs: {len(got[name])} of {len(want[name])} bytes")


def standard_output_has_the_lines_of_the_files(place):
    texts = folder_of_texts(place)
    want = undisturbed(place, "files", texts, options=OPTIONS).records()
    for name, pipe in (("one", False), ("four", True)):
        job = Job(place, name, texts, options=OPTIONS)
        path = place.path(name + ".out")
        with open(path, "wb") as out:
            if pipe:
                four = Pipe(job)
                command = four.command
                four.command = lambda stage: command(stage) + (STDOUT if stage == "emit" else [])
                start = place.start
                place.start = lambda *a, **k: start(*a, **{**k, "stdout": out})
                four.run()
                place.start = start
            else:
                process = place.start(job.command(*STDOUT), stdout=out)
                check(place.end_of(process) == 0, place.said(process))
        with open(path, "rb") as file:
            got, repeats = as_files(by_stream(file.read()))
        same_files(got, want, name)
        check(repeats == 0 and not job.records(), "written twice, or to a file")
        if not pipe:
            job.run(*STDOUT)  # finished before
    process = place.start(job.command(*STDOUT, "--json"))
    check(place.end_of(process) == USAGE and "--json" in place.said(process), place.said(process))
    return f"{sum(len(data) for data in want.values())} bytes, by one process and by four"


def killed_and_sent_again(place):
    """Killed at steps of the protocol and at random instants; into pipes, and appended to a file."""
    texts = folder_of_texts(place)
    want = undisturbed(place, "files", texts, options=OPTIONS).records()
    told = []
    crashes = ["emit_fsync_begin:3", "emit_fsync_end:9", "emit_durable:12", "encode_commit:4", "encode_committed:5",
               "emit_record:40", "encode_durable:7", "store_commit_end:9"]
    for to_file in (False, True):
        job = Job(place, f"job-{to_file}", texts, options=OPTIONS)
        heard, path, rng = b"", place.path("appended"), random.Random(place.seed)
        for crash in crashes + [None] * 6:
            read_end, write_end = os.pipe()
            out = open(path, "ab") if to_file else os.fdopen(write_end, "wb")
            process = place.start(job.command(*STDOUT, program=place.steps), crash=crash, stdout=out)
            out.close()
            if to_file:
                os.close(write_end)
            with os.fdopen(read_end, "rb") as pipe:
                if not crash:
                    job.wait_tokens(process, tokens(job) + rng.randint(1, 3000))
                    job.kill(process)
                heard += pipe.read()
            status = place.end_of(process)
            check(status in (0, -signal.SIGKILL), f"{status}: {place.said(process)}")
            job.kills += crash is not None and status != 0
        with open(path, "ab") as out:
            process = place.start(job.command(*STDOUT), stdout=out if to_file else subprocess.PIPE)
            heard += b"" if to_file else process.stdout.read()
        check(place.end_of(process) == 0, place.said(process))
        if to_file:
            with open(path, "rb") as file:
                heard = file.read()
        got, repeats = as_files(by_stream(heard, torn=True))
        same_files(got, want, f"to_file {to_file}")
        check(job.kills >= 6, f"only {job.kills} kills")
        told.append(f"{'file' if to_file else 'pipe'}: {job.kills} kills, {repeats} records came again")
        check(repeats > 0, f"no kill repeated anything: {told}")
    return "; ".join(told)


def a_reader_that_stands_still_stops_the_flow_and_nothing_else(place):
    source = place.text("text.txt", generated_text(place.seed, 400000))
    want = undisturbed(place, "files", source, options=OPTIONS).records()
    job = Job(place, "still", source, options=OPTIONS)
    process = place.start(job.command(*STDOUT), stdout=subprocess.PIPE)
    seen = []

    def still():
        """It answers, and over many answers nothing moves."""
        answer = job.answer()
        seen.append((answer["streams"][0]["tokens"], answer["streams"][0]["records"])
                    if answer.get("pid") == process.pid and answer["streams"] else None)
        return len(seen) > 100 and seen[-1] and seen[-1][0] and len(set(seen[-100:])) == 1
    wait_for("the flow to stop", still)
    one = job.status()
    check(one["tokens"] < one["bytes_total"], "all was read though nobody took a record")
    check(one["durable_records"] < one["records"], f"durable, though nobody took it: {one}")
    process.send_signal(signal.SIGTERM)
    check(place.end_of(process) == STOPPED, place.said(process))
    first = process.stdout.read()
    process = place.start(job.command(*STDOUT), stdout=subprocess.PIPE)
    got, _ = as_files(by_stream(first + process.stdout.read(), torn=True))
    check(place.end_of(process) == 0, place.said(process))
    same_files(got, want, "stopped before a reader that stood still")
    return f"stopped at {one['records']} records, {one['durable_records']} of them taken"


def a_reader_that_goes_ends_the_run_with_one_line(place):
    texts = folder_of_texts(place, count=4, size=60000)
    job = Job(place, "gone", texts, options=OPTIONS)
    process = place.start(job.command(*STDOUT), stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    check(place.end_of(process) == SINK, f"{process.returncode}: {place.said(process)}")
    said = place.said(process)
    check(said.count("\n") == 1 and "standard output was closed by its reader" in said, said)
    return said.strip()


def synced_sizes(place, name, source, sync, options=()):
    """The sizes of the output at its fsyncs, and its lines' ends."""
    library = os.path.join(place.build, "tests/libsync_log.so")
    if not os.path.exists(library):
        raise Skip(f"{library} is not there: the sanitizers' builds have none")
    job = Job(place, name, source, options=["--unit", "line", "--sync", sync, *options])
    log = place.path(name + ".log")
    done = subprocess.run(job.command(), env={**os.environ, "LD_PRELOAD": library, "SYNC_LOG": log}, check=False,
                          capture_output=True)
    check(done.returncode == 0, done.stderr.decode())
    with open(log, encoding="utf-8") as file:
        sizes = [int(line.split()[0]) for line in file]
    (data,) = job.records().values()
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    return job, sizes, ends


def each_way_of_syncing(place):
    """record: each line is synced when it is the file's last. batch: many lines a sync, one sync after the other.
    interval: a sync a second, and those of checkpoints."""
    source = place.text("text.txt", generated_text(place.seed, 60000))
    want = undisturbed(place, "files", source, options=["--unit", "line"]).records()
    told = {}
    for sync in ("record", "batch", "interval"):
        job, sizes, ends = synced_sizes(place, sync, source, sync)
        same(job, want, sync)
        check(sizes == sorted(sizes), f"{sync}: {sizes}")
        check(sizes[-1] == ends[-1], f"{sync}: the end was not synced")
        told[sync] = len(sizes), len(ends)
        if sync == "record":
            check(sorted(set(sizes)) == ends, f"{len(set(sizes))} places were synced, there are {len(ends)} records")
    check(told["interval"][0] <= told["batch"][0] <= told["record"][0], told)
    return ", ".join(f"{sync}: {syncs} syncs of {records} records" for sync, (syncs, records) in told.items())


CASES = (standard_output_has_the_lines_of_the_files, killed_and_sent_again,
         a_reader_that_stands_still_stops_the_flow_and_nothing_else, a_reader_that_goes_ends_the_run_with_one_line,
         each_way_of_syncing)

if __name__ == "__main__":
    sys.exit(main(CASES))
