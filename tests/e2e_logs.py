"""Logs that grow and rotate while they are followed, as a front of the fault driver (e2e_fronts.py)."""
import gzip
import os
import shutil
import signal
import time

import e2e_faults as faults
from e2e import STOPPED, as_a_feed, check, wait_for, write
from e2e_fronts import OneProcess

LOG_WORDS = ("accepted refused from to connection session user root timeout error warning retry disk sync 10.0.0.1 "
             "192.168.7.12 naïve Ωκεανός 川の流れ GET POST /index.html 200 404 500 pid exited started").split()


def log_text(rng, size):
    """Lines of a log, some blank, some long; it ends with one."""
    parts, length = [], 0
    while length < size:
        words = rng.choices(LOG_WORDS, k=rng.choice((0, 0, 100, 200)) if rng.random() < 0.05 else rng.randint(3, 14))
        parts.append(f"Nov 21 {length:08} {' '.join(words)}\n".encode() if words else b"\n")
        length += len(parts[-1])
    return b"".join(parts)


class Log:
    """A file that somebody else writes."""

    def __init__(self, path, data):
        self.path, self.data, self.at, self.rotations, self.rotated = path, data, 0, 0, 0

    def left(self):
        return len(self.data) - self.at

    def append(self, size):
        with open(self.path, "ab") as file:
            file.write(self.data[self.at:self.at + size])
        self.at = min(self.at + size, len(self.data))

    def end_line(self):
        """What rotates a log lets its lines be whole."""
        if self.at and self.data[self.at - 1] != 10:
            self.append(self.data.index(b"\n", self.at) + 1 - self.at)

    def rotate(self, rng):
        """By rename, or by copy and truncation; the file before last is compressed, now and then. Not twice within a
        tick of the clock that file times are taken from."""
        while time.monotonic() < self.rotated + 0.02:
            time.sleep(0.005)
        self.rotated = time.monotonic()
        self.end_line()
        self.compress(rng)
        for number in range(self.rotations, 0, -1):
            for end in ("", ".gz"):
                if os.path.exists(f"{self.path}.{number}{end}"):
                    os.rename(f"{self.path}.{number}{end}", f"{self.path}.{number + 1}{end}")
        self.rotations += 1
        if rng.random() < 0.25:
            shutil.copy2(self.path, self.path + ".1")
            os.truncate(self.path, 0)
            how = "copied and truncated"
        else:
            os.rename(self.path, self.path + ".1")
            write(self.path, b"")
            how = "renamed"
        return how

    def compress(self, rng):
        last = self.path + ".1"
        if os.path.exists(last) and rng.random() < 0.3:
            with open(last, "rb") as plain, gzip.open(last + ".part", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            shutil.copystat(last, last + ".part")
            os.rename(last + ".part", last + ".gz")
            os.unlink(last)


class GrowingLogs(OneProcess):
    """`riverrun follow` of logs that a writer, who nothing befalls, appends to and rotates, also while nobody reads."""

    good_ends = (0, STOPPED, -signal.SIGTERM)

    def make_inputs(self):
        self.logs_at = os.path.join(self.folder, "logs")
        os.makedirs(self.logs_at)
        self.texts = {f"{i}.log": log_text(self.rng, self.rng.randrange(20000, 60000))
                      for i in range(1 + self.number % 3)}
        self.fixed = ["--unit", "line"]
        return [write(os.path.join(self.logs_at, name), data) for name, data in self.texts.items()]

    def undisturbed(self):
        """What `read` writes of the whole text, but for what its end brings."""
        want = super().undisturbed()
        self.want = {name: as_a_feed(data) for name, data in want.records().items()}
        return want

    def begin_round(self):
        shutil.rmtree(self.logs_at)
        os.makedirs(self.logs_at)
        self.logs = [Log(os.path.join(self.logs_at, name), data) for name, data in self.texts.items()]
        for log in self.logs:
            log.append(0)

    def command(self):
        self.job.options = self.options()
        command = self.job.command("--read-bytes", str(self.rng.randrange(100, 9000)), program=self.program)
        return [command[0], "follow", *command[2:]]

    def has_begun(self):
        """Whether all streams have a checkpoint. What is rotated away before that was never the run's."""
        return len([count for count in faults.counters(self.job.store) if count]) == len(self.logs)

    def may_go_back_to(self, copy):
        folder = os.path.join(self.folder, "older")
        os.makedirs(folder, exist_ok=True)
        shutil.copyfile(copy, os.path.join(folder, "data.mdb"))
        return len(faults.token_lengths(folder)) == len(self.logs)

    def write_on(self):
        rng = self.rng
        log = rng.choice(self.logs)
        for _ in range(rng.randrange(1, 4)):
            log.append(rng.randrange(200, 4000))
            if log.left() and self.has_begun() and rng.random() < 0.4:
                self.note(f"{os.path.basename(log.path)} rotated at {log.at}: {log.rotate(rng)}")
                self.tally.seen["rotations"] += 1
                log.append(rng.randrange(1, 3000))

    def life(self):
        rng = self.rng
        process, page = self.start(self.command())
        self.arm(page, rng.sample(self.ROWS, rng.choice((0, 1, 1, 2, 3))))
        for _ in range(rng.randrange(1, 5)):
            self.write_on()
            before = faults.computed(self.job.store)
            until = time.monotonic() + rng.random() * 0.2
            wait_for("a little", lambda: time.monotonic() > until or process.poll() is not None or
                     faults.computed(self.job.store) > before + 1500)
            if process.poll() is None:
                blow = rng.choice((None, None, None, self.stop, self.told))
                if blow:
                    blow(process)
        killed = False
        if rng.random() < 0.75:
            killed = self.kill(process)
        elif process.poll() is None:
            process.terminate()
        self.place.end_of(process)
        self.judge(process, page, killed)
        self.drop_pages()
        for _ in range(rng.randrange(3)):
            self.write_on()
        return not any(log.left() for log in self.logs)

    def told(self, process):
        if faults.is_owned(self.job.store):
            self.stop_a_while(process, "superseded", self.second_is_told)

    def complete(self):
        return all(os.path.exists(os.path.join(self.job.output, name)) and
                   os.path.getsize(os.path.join(self.job.output, name)) >= len(data)
                   for name, data in self.want.items())

    def calm(self):
        """The rest is written, and nobody disturbs."""
        for log in self.logs:
            log.append(log.left())
        process, page = self.start(self.command())
        page.disarm()
        wait_for("all lines", lambda: process.poll() is not None or
                 (self.complete() and faults.is_owned(self.job.store)))
        if process.poll() is None:
            process.terminate()
        self.place.end_of(process)
        check(self.judge(process, page) in self.good_ends, "an undisturbed run does not end well")
