#!/usr/bin/python3
"""What cannot be read again, end to end: standard input that is followed goes through the spool. Killed at any
instant and started again on the same pipe, at most one read a kill is missing, nothing comes twice, and what comes
out is what the same bytes give undisturbed; a spool that is full makes the one who writes wait, and loses nothing.
"""
import array
import fcntl
import json
import os
import random
import shutil
import sys
import termios
import threading

import e2e
from e2e import check, wait_for

READ_BYTES = 1000


class Follow(e2e.Job):
    """`riverrun follow -` as one process."""

    def command(self, *more, program=None):
        return [program or self.place.riverrun, "follow", *self.inputs, "--model", self.model, "-q", "-o",
                self.output, *self.options, *more]

    def units(self, name):
        """The units of a stream, each with its whole text, which holds no white space at its ends."""
        records = [json.loads(line) for line in self.records().get(name + ".jsonl", b"").splitlines()]
        return [record for record in records if "tokens" in record]

    def validate_entries(self, units, late):
        """They tile, each line that begins one does, and of the others so many at most as came late."""
        at, others = 0, 0
        for unit in units:
            check(unit["kind"] == "entry" and unit["begin"] == at, f"{unit} does not follow {at}")
            at = unit["end"]
            lines_of = unit["text"].split("\n")
            check(not any(line[0].isdigit() for line in lines_of[1:]), f"{unit} holds two entries")
            others += not lines_of[0][0].isdigit()
        check(others >= late, f"{others} entries were ended by time, {late} must have been")


class Feed:
    """A pipe that outlives its readers, and the one who writes to it."""

    def __init__(self):
        self.read_end, self.write_end = os.pipe()
        self.written, self.thread = 0, None

    def send(self, data):
        """Write all of it, in a thread of its own, as the pipe takes it."""
        def write():
            view = memoryview(data)
            while view:
                count = os.write(self.write_end, view[:4096])
                self.written += count
                view = view[count:]
        self.thread = threading.Thread(target=write, daemon=True)
        self.thread.start()

    def end(self):
        """Wait for the writer; then nobody writes any more."""
        self.thread.join(e2e.HANG_S)
        check(not self.thread.is_alive(), "the writer still waits")
        os.close(self.write_end)

    def close(self):
        os.close(self.read_end)


def lines(seed, count):
    """Lines that are all different, at most 100 bytes, so that each is in its record as it is."""
    chance = random.Random(seed)
    words = ["riverrun", "past", "Eve", "and", "Adam's", "from", "swerve", "of", "shore", "to", "bend", "bay"]
    return [f"{number} " + " ".join(chance.choices(words, k=chance.randrange(1, 12))) for number in range(count)]


def text_of(units):
    """What a stream read, put together from its units."""
    at = 0
    for unit in units:
        check(unit["begin"] == at, f"a unit begins at {unit['begin']}, the one before ended at {at}")
        at = unit["end"]
        check(at - unit["begin"] == len(unit["text"].encode()) + 1, f"{unit} is not its whole text")
    return "".join(unit["text"] + "\n" for unit in units).encode()


def gaps_between(written, stored):
    """The bytes that are missing in stored, place by place, if it is written with some taken out."""
    gaps, at, to = [], 0, 0
    while to < len(stored):
        if at < len(written) and written[at] == stored[to]:
            at, to = at + 1, to + 1
            continue
        found = written.find(stored[to:to + 60], at)
        check(found >= 0, f"{stored[to:to + 60]!r} at byte {to} was never written, or came before")
        gaps.append(found - at)
        at = found
    if at < len(written):
        gaps.append(len(written) - at)
    return gaps


def a_pipe_goes_on_after_each_kill(place):
    """Killed again and again while one writes on."""
    job = Follow(place, "out", "-", options=("--name", "feed", "--read-bytes", str(READ_BYTES)))
    chance = random.Random(place.seed)
    kills = place.times(8, 40)
    # A run reads on while it is told to end: there is enough for more kills than there are.
    data = "".join(line + "\n" for line in lines(place.seed, 1000 * kills)).encode()
    feed, tokens = Feed(), 0
    feed.send(data)
    for _ in range(kills):
        process = job.start(stdin=feed.read_end)
        tokens += chance.randrange(1, 2 * len(data) // (5 * kills))
        if job.wait_tokens(process, tokens):
            status = job.status()
            tokens = max(tokens, status["tokens"] if status else 0)
        job.kill(process)
    process = job.start(stdin=feed.read_end)
    feed.end()
    check(place.end_of(process) == 0, f"at the end of its input: {place.said(process)}")
    feed.close()
    stored = text_of(job.units("feed"))
    gaps = gaps_between(data, stored)
    check(len(gaps) <= job.kills, f"{len(gaps)} places with bytes missing after {job.kills} kills")
    check(all(gap <= READ_BYTES for gap in gaps), f"more than a read is missing: {gaps}")
    again = Follow(place, "again", "-", options=job.options)
    whole = Feed()
    whole.send(stored)
    process = again.start(stdin=whole.read_end)
    whole.end()
    check(place.end_of(process) == 0, "an undisturbed run ends by itself")
    whole.close()
    e2e.same(job, again.records(), "killed and undisturbed")
    return f"{job.kills} kills, {sum(gaps)} of {len(data)} bytes missing in {len(gaps)} places, at most {max(gaps, default=0)}"


def a_continuation_appends(place):
    """A second run of another writer goes on in the same stream; a last line without newline gets one."""
    job = Follow(place, "out", "-")
    for text in (b"one\ntwo", b"three\n", b"", b"four"):
        feed = Feed()
        feed.send(text)
        process = job.start(stdin=feed.read_end)
        feed.end()
        check(place.end_of(process) == 0, f"{text!r}: {place.said(process)}")
        feed.close()
    check(text_of(job.units("-")) == b"one\ntwo\nthree\nfour\n", f"{job.units('-')}")
    return ""


def a_full_spool_makes_the_writer_wait(place):
    """The stream is paused, the spool fills up, the writer waits; resumed, everything goes through."""
    bound = 1 << 20
    job = Follow(place, "out", "-", options=("--spool-bytes", str(bound), "--checkpoint-seconds", "3600"))
    data = "".join(line + "\n" for line in lines(place.seed, 45000)).encode()
    check(len(data) > bound + (400 << 10), f"{len(data)} bytes are too few")
    feed = Feed()
    feed.send(data[:1000])
    process = job.start(stdin=feed.read_end)
    job.wait_tokens(process, 500)
    job.control("pause")
    feed.thread.join(e2e.HANG_S)
    feed.send(data[1000:])
    before = [-1] * 20

    def stands_still():
        """The writer got nowhere over the last looks."""
        before.append(feed.written)
        del before[0]
        return feed.written > bound * 3 // 4 and before[0] == feed.written

    wait_for("the spool to fill", stands_still)
    check(feed.written < bound + (200 << 10), f"{feed.written} bytes were taken with a bound of {bound}")
    job.control("resume")
    feed.end()
    check(place.end_of(process) == 0, f"the end: {place.said(process)}")
    feed.close()
    check(text_of(job.units("-")) == data, "what came out is not what was written")
    size = os.path.getsize(os.path.join(job.store, "ingest", "data.mdb"))
    check(size < 6 * bound, f"the spool's file has {size} bytes")
    return f"{len(data)} bytes through {bound}; file of {size}"


def whole_units(job, name):
    """The units that are complete in the file, which may be written to."""
    path = os.path.join(job.output, name + ".jsonl")
    data = e2e.read(path) if os.path.exists(path) else b""
    records = [json.loads(line) for line in data[:data.rfind(b"\n") + 1].splitlines()]
    return [record for record in records if "tokens" in record]


def entries_are_the_same_after_kills(place):
    """Stack traces: lines that come together are an entry, and what comes late begins one, because time ended
    the one before. Killed and resumed, time ends no entry that it did not end before, and each that it did."""
    options = ("--name", "feed", "--multiline-start", r"^\d+ ", "--multiline-seconds", "0.3")
    job, chance, feed = Follow(place, "out", "-", options=options), random.Random(place.seed), Feed()
    process, written, late, copies = job.start(stdin=feed.read_end), [], 0, []

    def is_there(begins):
        return any(unit["text"].startswith(begins) for unit in whole_units(job, "feed"))

    def kill():
        """Kill it, keep a copy of how it stands, and start it again."""
        job.kill(process)
        copies.append(f"{job.output}.{len(copies)}")
        shutil.copytree(job.output, copies[-1], ignore=shutil.ignore_patterns("control"))
        return job.start(stdin=feed.read_end)

    for number in range(60):
        trace = [f"{number} error"] + [f"  at {number}.{line}" for line in range(chance.randrange(6))]
        os.write(feed.write_end, "".join(line + "\n" for line in trace).encode())
        written += trace
        if number % 6 == 5:
            wait_for("time to end the entry", lambda: is_there(f"{number} "))
            process = kill() if number % 12 == 5 else process
            os.write(feed.write_end, f"  late {number}\n".encode())
            written.append(f"  late {number}")
            late += 1
        if number % 12 == 10:
            wait_for("the entry before", lambda: is_there(f"{number - 1} "))  # what is not stored would be lost
            process = kill()
    os.close(feed.write_end)
    check(place.end_of(process) == 0, f"at the end of its input: {place.said(process)}")
    feed.close()
    units = job.units("feed")
    job.validate_entries(units, late)
    for copy in copies:
        again = Follow(place, os.path.basename(copy), "-", options=options)
        again.run()
        rest = again.units("feed")
        check(len(rest) > 3 and rest[:-1] == units[:len(rest) - 1], f"{copy}: resumed, other entries came out")
    return f"{len(units)} entries of {len(written)} lines, {job.kills} kills, {late} ended by time"


KEYED = r"^\d+ user=(\S+)"


def keyed_lines(seed, count, keys):
    """Lines of some keys, and some of none."""
    chance = random.Random(seed)
    return [(key, f"{number} user={key} {text}" if key else f"{number} {text}")
            for number, text in enumerate(lines(seed, count))
            for key in [f"k{chance.randrange(keys)}" if chance.random() < 0.9 else ""]]


def split(keyed, feed):
    """What each stream has to read."""
    streams = {}
    for key, line in keyed:
        name = f"{feed}+{key}" if key else feed
        streams[name] = streams.get(name, b"") + line.encode() + b"\n"
    return streams


def a_file_split_by_key_loses_nothing(place):
    """A log that grows, split into streams, and the process killed: each line once in its stream, in order."""
    path, chance = place.path("log.txt"), random.Random(place.seed)
    keyed = keyed_lines(place.seed, 4000, 60)
    e2e.write(path, b"")
    job = Follow(place, "out", path, options=("--name", "log", "--key", KEYED, "--read-bytes", "3000"))
    want, process, tokens = split(keyed, "log"), job.start(), 0
    with open(path, "ab", buffering=0) as log:
        for first in range(0, len(keyed), 500):
            for _, line in keyed[first:first + 500]:
                log.write(line.encode() + b"\n")
            tokens += chance.randrange(1, 12000)
            job.wait_tokens(process, tokens)
            tokens = max([tokens] + [sum(one["tokens"] for one in job.statuses())])
            job.kill(process)
            process = job.start()
    records = sum(len(data.splitlines()) for data in want.values())
    wait_for("all records", lambda: sum(data.count(b"\n") for data in job.records().values()) >= records)
    process.terminate()
    check(place.end_of(process) == e2e.STOPPED, f"stopped: {place.said(process)}")
    got = {name: text_of(job.units(name)) for name in want}
    check(len(job.records()) == len(want), f"{sorted(job.records())} are not the streams that there must be")
    check(got == want, f"streams differ: {[name for name in want if got[name] != want[name]]}")
    return f"{len(keyed)} lines in {len(want)} streams, {job.kills} kills"


def a_pipe_split_by_key_loses_at_most_a_read(place):
    """The same from a pipe: a kill costs one read, from within a line to within another."""
    keyed = keyed_lines(place.seed, 3000, 40)
    data = "".join(line + "\n" for _, line in keyed).encode()
    job = Follow(place, "out", "-",
                 options=("--name", "feed", "--key", KEYED, "--read-bytes", str(READ_BYTES)))
    feed, tokens, chance = Feed(), 0, random.Random(place.seed)
    feed.send(data)
    for _ in range(6):
        process = job.start(stdin=feed.read_end)
        tokens += chance.randrange(1, len(data) // 20)
        job.wait_tokens(process, tokens)
        tokens = max([tokens] + [sum(one["tokens"] for one in job.statuses())])
        job.kill(process)
    process = job.start(stdin=feed.read_end)
    feed.end()
    check(place.end_of(process) == 0, f"at the end of its input: {place.said(process)}")
    feed.close()
    want, read, joined = split(keyed, "feed"), 0, 0
    for name in job.records():
        stream = name.removesuffix(".jsonl")
        got, written = text_of(job.units(stream)), want.get(stream, b"").splitlines()
        whole = [line for line in got.splitlines() if line in set(written)]
        check(whole == [line for line in written if line in set(whole)], f"{stream}: twice, or in another order")
        read += len(got)
        joined += len(got.splitlines()) - len(whole)
    missing = len(data) - read
    check(0 <= missing <= job.kills * READ_BYTES, f"{missing} bytes are missing after {job.kills} kills")
    check(joined <= job.kills, f"{joined} lines that nobody wrote, after {job.kills} kills")
    return f"{job.kills} kills, {missing} of {len(data)} bytes missing, {joined} lines joined over what is missing"


def a_stop_in_a_line_costs_nothing(place):
    """A pipe split by key, stopped again and again where a line is not over, also before its key came."""
    keyed = keyed_lines(place.seed, 60, 5)
    keyed[7] = ("k1", keyed[7][1].split()[0] + " user=k1 " + "long " * 5000)
    data = "".join(line + "\n" for _, line in keyed).encode()
    job = Follow(place, "out", "-", options=("--name", "feed", "--key", KEYED))
    feed, at = Feed(), 0
    cuts = [data.index(b" user") + 2, data.index(b"long long") + 18000, data.index(b"long long") + 20000]
    cuts += random.Random(place.seed).sample(range(cuts[-1], len(data)), 3)
    for cut in sorted(cuts):
        process = job.start(stdin=feed.read_end)
        os.write(feed.write_end, data[at:cut])
        wait_for("the pipe to be empty", lambda: waiting_in(feed.read_end) == 0)
        process.terminate()
        check(place.end_of(process) == e2e.STOPPED, f"stopped: {place.said(process)}")
        at = cut
    process = job.start(stdin=feed.read_end)
    feed.send(data[at:])
    feed.end()
    check(place.end_of(process) == 0, f"at the end of its input: {place.said(process)}")
    feed.close()
    want = split(keyed, "feed")
    for name, data in want.items():
        read = b"".join(unit["text"].encode() + b"\n" for unit in job.units(name)) if name != "feed+k1" else None
        check(read is None or read == data, f"{name} read {read!r}, not {data!r}")
        check(job.units(name)[-1]["end"] == len(data), f"{name} ends at {job.units(name)[-1]['end']}, not {len(data)}")
    return f"{len(cuts)} stops"


def waiting_in(descriptor):
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def a_feed_that_is_gone_leaves_the_others(place):
    """Of two logs split by key one was put in place of another: the other goes on, and --restart reads what is there."""
    logs = [place.path(name) for name in ("a.log", "b.log")]
    job = Follow(place, "out", logs, options=("--key", KEYED))

    os.makedirs(job.output)

    def reads(*wanted, options=()):
        process = job.start(*options)
        wait_for(f"{wanted}", lambda: all(any(line in data for data in job.records().values()) for line in wanted))
        return process

    for path in logs:
        e2e.write(path, b"1 user=k1 the first of " + path[-5:].encode() + b"\n")
    process = reads(b"first of a.log", b"first of b.log")
    process.terminate()
    check(place.end_of(process) == e2e.STOPPED, f"stopped: {place.said(process)}")
    e2e.write(logs[0] + ".new", b"1 user=k1 quite another\n" * 20)
    os.replace(logs[0] + ".new", logs[0])
    with open(logs[1], "ab") as log:
        log.write(b"1 user=k1 the second of b.log\n")
    process = reads(b"second of b.log")
    wait_for("the feed's end", lambda: "no more to be found" in place.said(process))
    process.terminate()
    check(place.end_of(process) == e2e.STOPPED, f"stopped: {place.said(process)}")
    process = reads(b"quite another", b"second of b.log", options=["--restart"])
    check("begun again with what is there now" in place.said(process), place.said(process))
    process.terminate()
    check(place.end_of(process) == e2e.STOPPED, f"stopped: {place.said(process)}")


def it_ends_though_a_stream_is_paused(place):
    """At the end of its input, when the others have read all: the one that is paused keeps what came."""
    job = Follow(place, "out", "-", options=("--name", "feed", "--key", KEYED))
    for data in (b"1 user=a one\n1 user=b one\n", b"2 user=a two\n2 user=b two\n", b""):
        feed = Feed()
        feed.send(data)
        process = job.start(stdin=feed.read_end)
        feed.end()
        check(place.end_of(process) == 0, place.said(process))
        feed.close()
        if b"one" in data:
            job.control("pause", "feed+a")
        elif data:
            check([len(job.units(f"feed+{key}")) for key in "ab"] == [1, 2], f"{job.records()}")
            job.control("resume", "feed+a")
    check([len(job.units(f"feed+{key}")) for key in "ab"] == [2, 2], f"{job.records()}")


def a_long_key_is_brought_back(place):
    """What is durable is read without a new line of its key, whatever the length of its name."""
    feed, key = Feed(), "k" * 230
    job = Follow(place, "out", "-", options=("--name", "feed", "--key", KEYED))
    feed.send("".join(f"1 user={key} {line}\n" for line in lines(place.seed, 6000)).encode())
    process = job.start(stdin=feed.read_end)
    job.wait_tokens(process, 1)
    job.kill(process)
    process = job.start(stdin=feed.read_end)
    feed.end()
    check(place.end_of(process) == 0, f"at the end of its input: {place.said(process)}")
    feed.close()
    process = job.start()
    check(place.end_of(process) == 0, f"with nothing new: {place.said(process)}")
    # What a kill cut off has no key, and goes elsewhere.
    count = max(len(job.units(name.removesuffix(".jsonl"))) for name in job.records())
    check(5000 < count <= 6000, f"{count} of 6000 lines")
    return f"{count} of 6000 lines"


if __name__ == "__main__":
    sys.exit(e2e.main([a_pipe_goes_on_after_each_kill, a_continuation_appends,
                       a_full_spool_makes_the_writer_wait, entries_are_the_same_after_kills,
                       a_file_split_by_key_loses_nothing, a_pipe_split_by_key_loses_at_most_a_read,
                       a_stop_in_a_line_costs_nothing,
                       a_feed_that_is_gone_leaves_the_others, it_ends_though_a_stream_is_paused,
                       a_long_key_is_brought_back]))
