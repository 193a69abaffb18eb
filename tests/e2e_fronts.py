"""The fronts of the fault driver (test_e2e_faults.py): a job of some streams, the runs of it, and what befalls them.

A round begins with an empty folder and lives through run after run: the shim makes calls fail, the driver kills,
stops, cuts; between two lives the disk is changed as a crash of the machine or a bad disk would. A run that ends
with a documented status is run again, as a user would. The round ends when a run ends with 0, and then the bytes
are compared.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import time

import e2e
import e2e_faults as faults
import e2e_store
from e2e import IN_USE, SOME_FAILED, STAGES, STOPPED, Failed, Job, Pipe, check, read, wait_for, write
from e2e_faults import Page, Tally
from e2e_world import DAMAGED, FULL, LIMIT, SINK, SYSTEM, tree

MEMORY = 4  # exit statuses beside those of e2e_world: schemas/err.h
ENDS = {  # what a run may end with when this happened to it
    faults.SYNC: {SYSTEM, SINK, SOME_FAILED}, faults.WRITE: {SYSTEM, SINK, SOME_FAILED},
    faults.SHORT: {SYSTEM, SINK, SOME_FAILED, FULL}, faults.FULL: {FULL, SOME_FAILED},
    faults.MAP: {SYSTEM, MEMORY, LIMIT, SOME_FAILED}, faults.LINK: set(), faults.KILL: {-signal.SIGKILL},
    faults.SLOW: set()}
MODELS = ("nano", "nano", "nano4", "nano51", "nano52", "nano6")
OLDER, DAMAGE = "going on from an older one", "damaged"


class Front:
    """One job of some streams, and what befalls it."""

    good_ends = (0,)

    def __init__(self, place, kind, number, program=None, mistake=None):
        self.place, self.kind, self.number = place, kind, number
        self.rng, self.tally, self.log = faults.generator(place, kind, number), Tally(), []
        self.program = program or place.riverrun
        self.more = {"RIVERRUN_MISTAKE": mistake} if mistake else {}
        self.folder = place.path(f"{kind.replace(' ', '-')}-{number}")
        self.copies, self.rounds, self.pages = os.path.join(self.folder, "copies"), 0, 0
        self.lives = []  # (process, page) that are to be judged
        os.makedirs(self.copies)
        self.model = os.path.join(place.build, f"tests/{self.rng.choice(MODELS)}.safetensors")
        self.inputs = self.make_inputs()
        want = self.undisturbed()
        self.tally.streams, self.tokens = len(self.inputs), sum(one["tokens"] for one in want.statuses())

    def make_inputs(self):
        self.fixed = ["--unit", self.rng.choice(("line", "paragraph"))]
        if self.rng.random() < 0.3:
            self.fixed += ["--normalize", "nfc"]
        return [write(os.path.join(self.folder, f"{i}.txt"),
                      faults.some_text(self.place, self.rng, self.rng.randrange(20000, 60000)))
                for i in range(1 + self.number % 3)]

    def undisturbed(self):
        want = Job(self.place, f"{os.path.basename(self.folder)}/want", self.inputs, self.model, self.fixed)
        want.run()
        want.validate()
        self.want = want.records()
        return want

    def begin_round(self):
        """Nothing to prepare: texts stay as they are."""

    # ---- What happened ----

    def note(self, what):
        self.log.append(what)

    def happened(self, kind, detail="", count=1):
        self.tally.faults[kind] += count
        self.note(f"{kind} {detail}".strip())

    def wrong(self, why):
        said = "\n    ".join(self.log[-80:])
        raise Failed(f"{self.kind}, front {self.number}, round {self.rounds}, fault {self.tally.total()}: {why}\n"
                     f"    {said}")

    # ---- A round ----

    def options(self):
        rng = self.rng
        return [*self.fixed, "--checkpoint-seconds", rng.choice(("0.05", "0.1", "0.2")), "--checkpoint-every",
                str(rng.randrange(500, 2000)), "--threads", str(rng.choice((1, 1, 2)))]

    def fight(self, quota):
        while self.tally.total() < quota:
            before = self.tally.total()
            self.round(min(quota, before + self.rng.randrange(8, 30)))
            self.idle = 0 if self.tally.total() > before else self.idle + 1
            check(self.idle < 50, "no fault happens any more")
        return self.tally

    idle = 0

    def round(self, until):
        self.rounds += 1
        self.tally.seen["outputs compared"] += len(self.inputs)
        self.log = []
        self.drop_copies()
        self.begin_round()
        self.job = Job(self.place, f"{os.path.basename(self.folder)}/round{self.rounds}", self.inputs, self.model)
        self.durable = {}     # name of an output: bytes of it that a power cut leaves
        self.taken_back = set()  # outputs that lost what had been synced: no honest disk does that
        try:
            while self.tally.total() < until:
                if self.life():
                    break
                self.between()
            self.calm()
            e2e.same(self.job, self.want, "after all this")
        except (Failed, AssertionError) as why:
            self.wrong(why)
        finally:
            for process, _ in self.lives:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    self.place.kill(process)
            self.drop_pages()
        finished = self.job.statuses()
        self.tally.tokens += sum(one["tokens"] for one in finished)
        self.tally.twice += sum(max(one["computed"] - one["tokens"], 0) for one in finished)
        shutil.rmtree(self.job.output)

    # ---- Processes ----

    def outputs(self):
        folder = self.job.output
        return [name for name in sorted(os.listdir(folder)) if name.endswith(".jsonl")] \
            if os.path.exists(folder) else []

    def start(self, command):
        """A process under the shim; (process, page)."""
        inodes = {os.stat(os.path.join(self.job.output, name)).st_ino: self.durable.get(name, 0)
                  for name in self.outputs()}
        self.pages += 1
        page = Page(os.path.join(self.folder, f"page{self.pages}"), inodes)
        more = {"LD_PRELOAD": os.path.join(self.place.build, "tests/libfault_shim.so"), "FAULT_PAGE": page.path,
                "FAULT_FOLDER": self.job.output + "/", "FAULT_COPIES": self.copies, **self.more}
        if self.rng.random() < 0.7:
            more["FAULT_MAP"] = str(self.rng.choice((4096, 8192, 16384)))
        page.arm(faults.COPY, self.rng.randrange(12), 3)
        self.tally.seen["processes started"] += 1
        process = self.place.start(command, more=more)
        self.lives.append((process, page))
        if command[1] != "stage" or command[2] == "encode":
            self.owner = process.pid
        return process, page

    def count(self, page, who=""):
        """Note what the shim did since the last look; the rows that fired."""
        news = page.news()
        for row, count in news.items():
            count = 1 if row in (faults.FULL, faults.SLOW) else count
            self.happened(faults.BY_ROW[row], who, count)
        synced = page.synced()
        for name in self.outputs():
            inode = os.stat(os.path.join(self.job.output, name)).st_ino
            if inode in synced:
                self.durable[name] = synced[inode]
        return news

    def said(self, process):
        return self.place.said(process, 1 << 20)

    def drop_pages(self):
        for _, page in self.lives:
            page.close()
        self.lives = []

    def judge(self, process, page, killed=False, more=()):
        """The process has ended: with a status that what happened to it explains, and a line that says so."""
        self.count(page)
        status, permitted = process.poll(), {*self.good_ends, *more}
        for row in faults.BY_ROW:
            permitted |= ENDS[row] if page.fired(row) else set()
        said = self.said(process)
        self.note(f"{process.args[1:3]} ends with {status}: {said.strip()}")
        check(killed or status in permitted, f"exit status {status}, {sorted(permitted)} can be explained: {said}")
        check(killed or status <= 0 or said.startswith("riverrun: "), f"status {status} without a word: {said}")
        check(OLDER not in said or self.taken_back, f"what was durable is not there: {said}")
        if status > 0 and status not in self.good_ends and not killed:
            self.tally.seen[f"ends with status {status}, and again"] += 1
        if status == 0 and page.counted != [0] * 16:
            self.tally.seen["processes that went on to a good end in spite of failed calls"] += 1
        return status

    def wait_target(self, tokens, *processes):
        """Until so many more tokens are computed, or one of them ends."""
        target = faults.computed(self.job.store) + tokens
        wait_for(f"{tokens} tokens more ({target})", lambda: faults.computed(self.job.store) >= target or
                 any(process.poll() is not None for process in processes))

    def stop_a_while(self, process, kind="stop", meanwhile=None):
        """SIGSTOP, let the world go on, SIGCONT."""
        if process.poll() is not None:
            return
        process.send_signal(signal.SIGSTOP)
        state = wait_for("stopped, or at its end", lambda: self.state_of(process))
        if state == "T":
            self.happened(kind)
            if meanwhile:
                meanwhile()
            else:
                time.sleep(self.rng.random() * 0.15)
        process.send_signal(signal.SIGCONT)

    @staticmethod
    def state_of(process):
        """T: stopped; X: ended; None: neither."""
        if process.poll() is not None:
            return "X"
        state = read(f"/proc/{process.pid}/stat").rsplit(b")", 1)[1].split()[0].decode()
        return state if state == "T" else None

    def arm(self, page, rows):
        """Some calls are to fail, soon."""
        rng = self.rng
        for row in rows:
            wait = int(rng.expovariate(1 / (2 if row == faults.MAP else 15)))
            where = rng.choice((faults.EVERYWHERE, faults.STORE, faults.OUTPUT, faults.OTHER | faults.OUTPUT))
            if row == faults.MAP:
                where = faults.STORE
            count = rng.choice((1, 1, 2)) if row in (faults.SHORT, faults.SYNC) else \
                rng.randrange(1, 9) if row in (faults.FULL, faults.SLOW) else 1
            detail = rng.randrange(20, 200) if row == faults.SLOW else rng.choice(faults.MOMENTS)
            self.note(f"armed: {faults.BY_ROW[row]} after {wait}, {count} times, files {where}")
            page.arm(row, wait, count, where, detail)

    # ---- Between two lives ----

    def between(self):
        """Nobody runs: what the disk may do."""
        if not faults.is_born(self.job.store):
            return
        for chance, change in ((0.35, self.tear), (0.15, self.store_back), (0.12, self.flip_value),
                               (0.12, self.flip_tree), (0.15, self.output_back)):
            if self.rng.random() < chance:
                change()
        self.drop_copies()

    def drop_copies(self):
        for name in os.listdir(self.copies):
            os.unlink(os.path.join(self.copies, name))

    def tear(self):
        able = [name for name in self.outputs() if name not in self.taken_back]
        if able:
            name = self.rng.choice(able)
            path = os.path.join(self.job.output, name)
            before = os.path.getsize(path)
            durable = self.durable.get(name, 0)
            if faults.tear(self.rng, path, durable, len(self.want[name])):
                self.happened("torn output", f"{name}: {before} bytes, {durable} synced, "
                              f"{os.path.getsize(path)} left")

    def store_back(self):
        """To a copy of the last owner's: it wrote its epoch before all else, and no disk takes that back."""
        copies = sorted(name for name in os.listdir(self.copies) if name.startswith(f"{self.owner}."))
        data = os.path.join(self.job.store, "data.mdb")
        if copies:
            copy = os.path.join(self.copies, self.rng.choice(copies))
            if read(copy) != read(data) and self.may_go_back_to(copy):
                shutil.copyfile(copy, data)
                self.happened("store back", os.path.basename(copy))

    def may_go_back_to(self, copy):
        del copy
        return True

    def flip_value(self):
        if faults.flip_value(self.rng, self.job.store):
            self.happened("bit in a value")

    def flip_tree(self):
        """Refused in words that name the remedy, and no file touched; or it was a bit that means nothing. One in a
        small value that lies in the tree is put back: flip_value is for those."""
        data = os.path.join(self.job.store, "data.mdb")
        whole, values = read(data), e2e_store.values(self.job.store)
        if not faults.flip_tree(self.rng, self.job.store):
            return
        self.happened("bit in a tree page")
        before = self.refused_files()
        look = self.place.start([self.program, "status", "--store", self.job.store])
        if self.place.end_of(look) == 0:
            if e2e_store.values(self.job.store) != values:
                write(data, whole)
            return
        process, page = self.start(self.command())
        self.place.end_of(process)
        check(self.judge(process, page, more=(DAMAGED,)) == DAMAGED, "status refuses the store, read does not")
        check("riverrun repair" in self.said(process), "no remedy is named")
        check(self.refused_files() == before, "a refused store or output was touched")
        self.tally.seen["damaged trees refused"] += 1
        if self.rng.random() < 0.2:
            write(data, whole)
        else:
            self.repair(whole)

    def refused_files(self):
        """All but what is ingest's own, which opens first."""
        return {name: digest for name, digest in tree(self.job.output).items() if "state/ingest/" not in name}

    def repair(self, whole):
        """It refuses where the damage took the store's identity and no output tells it: then only a copy helps."""
        done = self.place.start([self.program, "repair", "-o", self.job.output])
        status = self.place.end_of(done)
        self.note(f"repair ends with {status}: {self.said(done)}")
        if status == DAMAGED and "its head record is lost" in self.said(done) and not self.outputs():
            write(os.path.join(self.job.store, "data.mdb"), whole)
            return
        check(status == 0, "the repair that was named as the remedy fails")
        for name in os.listdir(self.job.store):
            if ".damaged-" in name:
                os.unlink(os.path.join(self.job.store, name))
        self.tally.seen["damaged trees repaired"] += 1

    def output_back(self):
        """No honest disk does this; the kept checkpoints are for the one that does."""
        if not all(sound for found in faults.checkpoints(self.job.store).values() for _, _, sound in found):
            return
        lengths = faults.token_lengths(self.job.store)
        able = [name for name in self.outputs() if min(lengths.get(name[:-6], [0])) < lengths.get(name[:-6], [0])[0]]
        if able:
            name = self.rng.choice(able)
            path, known = os.path.join(self.job.output, name), lengths[name[:-6]]
            length = self.rng.choice([one for one in known if one < known[0]])
            if length >= os.path.getsize(path):
                return
            os.truncate(path, length)
            self.happened("output back", f"{name}: to {length} of {known[0]}")
            self.durable[name] = min(self.durable.get(name, 0), length)
            self.taken_back.add(name)

    def command(self):
        self.job.options = self.options()
        return self.job.command("--read-bytes", str(self.rng.randrange(100, 9000)), program=self.program)

    def calm(self):
        """A last run that nobody disturbs."""
        process, page = self.start(self.command())
        page.disarm()
        self.place.end_of(process)
        check(self.judge(process, page) == 0, "an undisturbed run does not end well")


class OneProcess(Front):
    superseded_ends, second = (), None
    ROWS = (faults.SYNC, faults.WRITE, faults.SHORT, faults.FULL, faults.MAP, faults.KILL, faults.SLOW)

    def life(self):
        """True when all streams are finished."""
        rng = self.rng
        process, page = self.start(self.command())
        self.arm(page, rng.sample(self.ROWS, rng.choice((0, 1, 1, 2, 3))))
        killed = False
        for blow in rng.choices((self.kill, self.stop, self.supersede, None), (8, 2, 1, 3), k=rng.choice((1, 1, 2))):
            if rng.random() < 0.2:
                time.sleep(rng.random() * 0.03)
            else:
                self.wait_target(rng.randrange(self.tokens // 3), process)
            if blow and process.poll() is None and not killed:
                killed = blow(process) or killed
        self.place.end_of(process)
        status = self.judge(process, page, killed, self.superseded_ends)
        self.superseded_ends = ()
        self.drop_pages()
        return status == 0

    def kill(self, process):
        if self.job.kill(process):
            self.happened("kill")
        return True

    def stop(self, process):
        self.stop_a_while(process)

    def supersede(self, process):
        """A second run while the first one is stopped: it is told so. With the store's lock lost it becomes
        the owner, and the first one, woken, commits nothing more."""
        if not faults.is_owned(self.job.store):
            return
        if self.rng.random() < 0.4:
            self.stop_a_while(process, "superseded", self.second_is_told)
        else:
            self.superseded_ends = (IN_USE, SOME_FAILED)
            self.stop_a_while(process, "superseded", self.second_takes_over)
            self.second_ends(process)

    def second_is_told(self):
        before = self.refused_files()
        second, page = self.start(self.command())
        status = self.place.end_of(second)
        self.judge(second, page, more=(IN_USE,))
        check(status == IN_USE, f"a second run ends with {status}")
        check(self.refused_files() == before, "a second run touched files of the first")

    def second_takes_over(self):
        """Unless the first one was stopped within a transaction: LMDB lets one write at a time."""
        for _, page in self.lives:
            self.count(page)
        os.unlink(os.path.join(self.job.store, "owner.lock"))
        self.first_epoch = faults.head(self.job.store)[0]
        self.second = self.start(self.command())
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.second[0].wait(2)

    def second_ends(self, process):
        if not self.second:
            return
        second, page = self.second
        self.second = None
        owner = faults.head(self.job.store)
        over = second.poll() is not None and owner[0] > self.first_epoch
        self.note("the first wakes when the second " + ("is over" if over else "waits, or is refused"))
        self.place.end_of(process)
        self.count(self.lives[0][1])  # what it synced came before
        check(not over or faults.head(self.job.store) == owner, "a superseded run wrote into the store")
        self.place.end_of(second)
        self.judge(second, page, more=(IN_USE, SOME_FAILED))


class FourProcesses(Front):
    """The stages as processes; one that dies or ends with an error is started again, the others live on."""

    def life(self):
        self.pipe = Pipe(self.job, program=self.program)
        self.job.options = self.options()
        self.running, self.blows = {}, self.rng.randrange(4, 16)
        os.makedirs(self.job.output, exist_ok=True)
        for stage in self.rng.sample(STAGES, 4):
            self.begin(stage)
        while self.blows > 0 and self.running["encode"][0].poll() != 0:
            self.blows -= 1
            self.wait_target(self.rng.randrange(self.tokens // 6), *(process for process, _ in self.running.values()))
            self.mend()
            if self.running["encode"][0].poll() is None:
                self.blow(self.rng.choice(STAGES))
        finished = self.to_the_end() if self.rng.random() < 0.3 else self.all_killed()
        self.drop_pages()
        return finished

    def begin(self, stage):
        self.pipe.ingest = ["--read-bytes", str(self.rng.randrange(100, 9000))]
        self.running[stage] = self.start(self.pipe.command(stage))

    def blow(self, stage):
        rng, (process, page) = self.rng, self.running[stage]
        kind = rng.choice(("kill", "kill", "stop", "link", "link", "files", "files", "files"))
        if kind == "kill":
            if self.job.kill(process):
                self.happened("kill", stage)
            self.judge(process, page, killed=True)
            self.begin(stage)
        elif kind == "stop":
            self.stop_a_while(process)
        elif kind == "link":
            self.note(f"armed: link, {stage}")
            page.arm(faults.LINK, rng.randrange(12))
        else:
            rows = (faults.SYNC, faults.WRITE, faults.SHORT, faults.FULL, faults.KILL, faults.MAP, faults.SLOW)
            self.arm(self.running[rng.choice(("encode", "emit"))][1], rng.sample(rows, rng.choice((1, 1, 2))))

    def mend(self):
        """Count what happened; what ended is started again."""
        for stage, (process, page) in self.running.items():
            self.count(page, stage)
            if process.poll() is not None and (stage != "encode" or process.poll() != 0):
                if self.running["encode"][0].poll() != 0:
                    self.judge(process, page, page.fired(faults.KILL), self.said_by_neighbours())
                    self.begin(stage)

    def said_by_neighbours(self):
        """Encode ends with what emit refused, and the shim's page of that is emit's."""
        permitted = set()
        for _, page in self.lives:
            for row in faults.BY_ROW:
                permitted |= ENDS[row] if page.fired(row) else set()
        return permitted - {-signal.SIGKILL}

    def to_the_end(self):
        """Nothing new befalls them."""
        for _, page in self.running.values():
            page.disarm()
        while True:
            wait_for("an end", lambda: any(process.poll() is not None for process, _ in self.running.values()))
            if self.running["encode"][0].poll() == 0:
                break
            self.mend()
        for stage, (process, page) in self.running.items():
            if stage != "encode":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                if process.poll() is None:
                    process.terminate()
                self.place.end_of(process)
            self.judge(process, page, page.fired(faults.KILL), (STOPPED, -signal.SIGTERM, *self.said_by_neighbours()))
        return True

    def all_killed(self):
        """As a machine that goes down: then its disk may have changed."""
        finished, down = self.running["encode"][0].poll() == 0, False
        for stage in self.rng.sample(STAGES, 4):
            process, page = self.running[stage]
            ended = process.poll() is not None
            if self.job.kill(process) and not down:
                down = True
                self.happened("kill", "all four")
            if ended:
                self.judge(process, page, page.fired(faults.KILL), (STOPPED, *self.said_by_neighbours()))
            self.count(page, stage)
        return finished
