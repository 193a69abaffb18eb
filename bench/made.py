"""Made documents for the default model: /usr/bin/python3 bench/made.py KIND TEXT... -o OUT [--mib N] [--seed N]

A model learns to repeat what it has just read only where knowing the text by heart does not help. The logs of the
training corpus are of few programs, and a model of millions of parameters learns these by heart. So this makes documents
whose every word is drawn from TEXT (the training texts) or put together from letters and digits:

logs    each the log of a program that never was: its lines are some templates with fields, which come in an order
        that repeats itself
lines   each a few lines of words, said again and again
shapes  logs as before, with names of the program's own form (node R20-M1-N8, blk_-16089, a3:7f:00) that come again in
        other lines and twice in one
builds  long lines that differ in a few places: commands with dozens of arguments, tables, checks one after another
long-shapes, long-builds   the same, of up to 128 KiB, where the others end at 32
disguised  pieces of the last two TEXTs in which words and joiners are others, each the same from end to end: behind
        "src" there may come an @, and who has learned by heart that it is a slash must look

What can be foreseen there can only be foreseen from the lines before. Documents are separated by NUL. The same seed
gives the same bytes.
"""
import argparse
import collections
import functools
import random
import re
import time

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TIMES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%b %d %H:%M:%S", "%d/%b/%Y:%H:%M:%S +0000", "%y/%m/%d %H:%M:%S",
         "%y%m%d %H%M%S", "%H:%M:%S", "%a %b %d %H:%M:%S %Y", "%s", "%Y/%m/%d %H:%M:%S", "%m-%d %H:%M:%S", "%Y%m%d-%H%M%S",
         "%Y.%m.%d", "%Y-%m-%d-%H.%M.%S")
LEVELS = (("INFO", "WARN", "ERROR", "DEBUG"), ("info", "warning", "error", "notice"), ("I", "W", "E", "D"),
          ("<info>", "<warn>", "<err>", "<debug>"), ("Info", "Warning", "Error", "Verbose"), ("6", "4", "3", "7"))


class Program:
    """A program that writes a log: its words, its fields, its templates, and which comes behind which."""

    def __init__(self, rng, words):
        self.rng, self.words = rng, words
        self.now = rng.uniform(9e8, 1.75e9)
        self.pace = rng.choice((0.01, 0.3, 2, 20, 300))
        self.pools = collections.defaultdict(list)
        self.levels = rng.choice(LEVELS)
        self.hosts = [self.name() for _ in range(rng.choice((1, 1, 1, 4, 30)))]
        self.parts = [self.component() for _ in range(rng.randint(1, 8))]
        self.header = self.make_header()
        kinds = rng.choice((1, 2, 4, 8, 16, 40))
        self.templates = [self.make_template() for _ in range(kinds)]
        weights = [rng.paretovariate(0.7) for _ in range(kinds)]
        self.weights = [min(w, 1e4) for w in weights]
        self.after = {i: rng.choices(range(kinds), self.weights)[0] for i in range(kinds)}
        self.order = rng.choice((0.0, 0.3, 0.7, 0.95))
        self.repeat = rng.choice((0.0, 0.0, 0.2, 0.6))
        self.end = rng.choice(("\n",) * 12 + (" \n", "\r\n"))

    def word(self):
        rng = self.rng
        if rng.random() < 0.75:
            return rng.choice(self.words)
        return "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 9)))

    def name(self):
        rng = self.rng
        kind = rng.randrange(6)
        parts = [self.word().lower() for _ in range(rng.randint(1, 3))]
        if kind == 0:
            return "".join(p.capitalize() for p in parts)
        if kind == 1:
            return "_".join(parts)
        if kind == 2:
            return "-".join(parts)
        if kind == 3:
            return ".".join(parts)
        if kind == 4:
            return parts[0] + str(rng.randrange(1000))
        return parts[0]

    def component(self):
        rng = self.rng
        name = self.name()
        return rng.choice((name, name, name + "Manager", "org." + self.word() + "." + name,
                           name + "." + self.word().capitalize(), name + "$" + self.word().capitalize(), name.upper()))

    def make_header(self):
        rng = self.rng
        pieces = []
        if rng.random() < 0.93:
            pieces.append(("time", rng.choice(TIMES), rng.choice(("", "", "", ",%03d", ".%03d", ".%06d"))))
        for kind, share in (("host", 0.4), ("level", 0.6), ("pid", 0.3), ("part", 0.7)):
            if rng.random() < share:
                pieces.append((kind,))
        head = pieces[:1]
        rest = pieces[1:]
        rng.shuffle(rest)
        shape = rng.choice(("{}", "{}", "[{}]", "({})", "<{}>"))
        return {"pieces": head + rest, "shape": shape, "join": rng.choice((" ", " ", " ", " - ", "  ", "\t", "|")),
                "last": rng.choice((": ", " ", " - ", "] ", " | ", "\t")), "pid": rng.choice(("%d", "[%d]", "(%d)", "pid=%d", "tid %d"))}

    def field(self):
        """A kind of value; those of a kind are drawn from one pool wherever they stand."""
        return self.rng.choice(("small", "small", "int", "int", "int", "big", "hex", "ip", "ipport", "path", "id", "user",
                                "word", "time", "float", "uuid", "count", "size", "port"))

    def make_template(self):
        rng = self.rng
        pieces = []
        style = rng.choice(("prose", "prose", "prose", "keys", "json", "call", "columns"))
        for _ in range(rng.choice((1, 2, 3, 5, 8))):
            if style in ("keys", "json", "columns"):
                pieces.append((self.name(), self.field(), 0))
            else:
                text = " ".join(self.word() if i or rng.random() < 0.5 else self.word().capitalize()
                                for i in range(rng.randint(1, 6)))
                pieces.append((text + rng.choice((" ", " ", ": ", "=", " (", " [", " '", " /", ", ")), self.field(), 0))
        tail = rng.choice(("", "", ".", " ms", " bytes", "]", ")", "'", " " + self.word() + " " + self.word()))
        if rng.random() < 0.25:
            pieces = pieces[:1]
            pieces[0] = (pieces[0][0] + " ".join(self.word() for _ in range(rng.randint(0, 8))), None, 0)
        return {"style": style, "pieces": pieces, "tail": tail, "level": rng.choice(self.levels[:2] + self.levels),
                "part": rng.choice(self.parts), "join": rng.choice((" ", " ", ", ", "; ", "\t"))}

    def fresh(self, kind):
        rng = self.rng
        pool = self.pools[kind]
        if kind == "count":
            pool[:] = [(pool[0] if pool else rng.randrange(100000)) + rng.choice((0, 1, 1, 1, 2, 10))]
            return str(pool[0])
        if kind == "time":
            return time.strftime("%H:%M:%S", time.gmtime(self.now))
        if pool and rng.random() < 0.55:
            near = -1 - min(int(rng.expovariate(0.5)), len(pool) - 1)
            return pool[near]
        value = {
            "small": lambda: str(rng.randrange(10)), "int": lambda: str(rng.randrange(10 ** rng.randint(1, 5))),
            "big": lambda: str(rng.getrandbits(63) * rng.choice((1, 1, -1))), "hex": lambda: "0x%08x" % rng.getrandbits(32),
            "ip": lambda: ".".join(str(rng.randrange(256)) for _ in range(4)),
            "ipport": lambda: "10.%d.%d.%d:%d" % (rng.randrange(256), rng.randrange(256), rng.randrange(256), rng.randrange(65536)),
            "path": lambda: "/" + "/".join(self.name() for _ in range(rng.randint(1, 5))),
            "id": lambda: self.name() + "_" + str(rng.getrandbits(rng.choice((10, 20, 40)))),
            "user": lambda: self.word().lower(), "word": self.word, "float": lambda: "%.*f" % (rng.randint(1, 4), rng.uniform(0, 100)),
            "uuid": lambda: "%08x-%04x-%04x" % (rng.getrandbits(32), rng.getrandbits(16), rng.getrandbits(16)),
            "size": lambda: str(rng.choice((512, 1024, 4096, 65536, 67108864, rng.randrange(10 ** 7)))),
            "port": lambda: str(rng.choice((22, 80, 443, 3888, 8080, rng.randrange(65536))))}[kind]()
        pool.append(value)
        del pool[:-12]
        return value

    def message(self, template):
        style, out = template["style"], []
        for text, kind, _ in template["pieces"]:
            value = self.fresh(kind) if kind else ""
            if style == "keys":
                out.append(f"{text}={value}")
            elif style == "json":
                out.append(f'"{text}":"{value}"')
            elif style == "columns":
                out.append(value)
            else:
                out.append(text + value)
        if style == "json":
            return "{" + ",".join(out) + "}"
        if style == "call":
            return template["part"] + "(" + ", ".join(out) + ")" + template["tail"]
        return template["join"].join(out) + template["tail"]

    def line(self, index):
        rng, template, header = self.rng, self.templates[index], self.header
        out = []
        for piece in header["pieces"]:
            if piece[0] == "time":
                stamp = time.strftime(piece[1].replace("%s", str(int(self.now))), time.gmtime(self.now))
                if piece[2]:
                    stamp += piece[2] % int(self.now % 1 * (1000 if "3" in piece[2] else 1000000))
                out.append(stamp)
            elif piece[0] == "host":
                out.append(rng.choice(self.hosts))
            elif piece[0] == "level":
                out.append(header["shape"].format(template["level"]))
            elif piece[0] == "pid":
                out.append(header["pid"] % int(self.fresh("port")))
            elif piece[0] == "shape":
                out.append(self.fresh(piece))
            else:
                out.append(template["part"])
        return header["join"].join(out) + (header["last"] if out else "") + self.message(template) + self.end

    def log(self, size):
        rng, out, index, made = self.rng, [], 0, 0
        last = ""
        while made < size:
            if last and rng.random() < self.repeat:
                text = last
            else:
                index = self.after[index] if rng.random() < self.order else \
                    rng.choices(range(len(self.templates)), self.weights)[0]
                self.now += rng.expovariate(1 / self.pace) if rng.random() < 0.6 else 0
                text = last = self.line(index)
            out.append(text)
            made += len(text)
        return "".join(out)


class Shaped(Program):
    """A program with forms of names of its own."""

    def __init__(self, rng, words):
        self.shapes = [self.make_shape(rng) for _ in range(rng.randint(1, 6))]
        self.seen = {}  # in this line
        super().__init__(rng, words)

    @staticmethod
    def make_shape(rng):
        pieces = []
        for _ in range(rng.choice((1, 2, 2, 3, 4, 5))):
            kind = rng.choice(("digits", "digits", "hex", "letter"))
            begin = rng.choice(("", "", rng.choice(LETTERS), rng.choice(LETTERS.upper()),
                                "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 4)))))
            pieces.append((begin, kind, rng.choice((1, 1, 2, 2, 3, 4, 8, 12))))
        return {"pieces": pieces, "join": rng.choice(("-", "-", ":", ".", "_", "/", "")),
                "begin": rng.choice(("", "", "", "/", "#", "@", "0x", "$")),
                "new": rng.choice((0.01, 0.05, 0.2, 0.6, 1.0)), "fixed": rng.choice((0.0, 0.5, 0.8)), "pool": []}

    def make_header(self):
        header = super().make_header()
        for _ in range(self.rng.choice((0, 1, 1, 2, 3))):
            at = self.rng.randint(0, len(header["pieces"]))
            header["pieces"].insert(at, ("shape", self.rng.randrange(len(self.shapes))))
        if self.rng.random() < 0.3:
            at = self.rng.randint(1, max(1, len(header["pieces"])))
            header["pieces"].insert(at, ("time", self.rng.choice(TIMES), self.rng.choice(("", ".%03d", ".%06d"))))
        return header

    def field(self):
        if self.rng.random() < 0.5:
            return "shape", self.rng.randrange(len(self.shapes))
        return super().field()

    def fresh(self, kind):
        if not isinstance(kind, tuple):
            return super().fresh(kind)
        rng, shape = self.rng, self.shapes[kind[1]]
        pool, at = shape["pool"], kind[1]
        if at in self.seen and rng.random() < 0.8:
            return self.seen[at]
        if not pool or rng.random() < shape["new"]:
            pieces = []
            for i, (begin, digits, count) in enumerate(shape["pieces"]):
                before = pool[-1][i] if pool else None
                if before and rng.random() < shape["fixed"]:
                    pieces.append(before)
                    continue
                letters = {"digits": "0123456789", "hex": "0123456789abcdef", "letter": "ABCDEFGH"}[digits]
                pieces.append(begin + "".join(rng.choice(letters) for _ in range(count)))
            pool.append(pieces)
            del pool[:-200]
        else:
            pieces = pool[-1 - min(int(rng.expovariate(rng.choice((1, 0.2, 0.02)))), len(pool) - 1)]
        self.seen[at] = shape["begin"] + shape["join"].join(pieces)
        return self.seen[at]

    def line(self, index):
        self.seen = {}
        return super().line(index)


class Build(Program):
    """Lines that differ in a few places: what one place takes is a name, a number, or one of few words."""

    def make_command(self):
        rng = self.rng
        pieces = []
        begin = rng.choice(("-", "--", "-D", "-W", "-f", "", "", "lib", "/usr/", "-I/"))
        for _ in range(int(2 ** rng.uniform(0, 5.5))):
            text = rng.choice((begin, begin, begin, "")) + self.name()
            pieces.append(text + rng.choice(("", "", "", "=" + self.name(), "=" + str(rng.randrange(100)))))
        holes = [rng.choice(("name", "name", "number", "few", "count")) for _ in range(rng.choice((1, 1, 2, 3)))]
        slots = []  # (where, which hole, before, behind): a hole may come in several places
        for hole in range(len(holes)):
            for _ in range(rng.choice((1, 1, 2, 3))):
                slots.append((rng.randint(0, len(pieces)), hole, rng.choice(("", "", "-o ", "src/", "(", "[", "\"")),
                              rng.choice(("", "", ".c", ".o", ".lo", ".html", ")", "]", "\"", "...", ":"))))
        few = [self.name() for _ in range(rng.choice((1, 2, 2, 5)))]
        return {"pieces": pieces, "holes": holes, "slots": sorted(slots), "few": few,
                "join": rng.choice((" ", " ", " ", "\t", "  ")),
                "begin": rng.choice(("", "", "", "  ", "+ ", "#")), "end": rng.choice(("", "", "", " \\", ";", " yes", " ok")),
                "count": rng.randrange(100), "run": rng.choice((1, 1, 3, 20))}

    def text_of(self, command):
        rng = self.rng
        values = []
        for hole in command["holes"]:
            if hole == "count":
                command["count"] += rng.choice((1, 1, 1, 2))
                values.append(str(command["count"]))
            elif hole == "few":
                values.append(rng.choice(command["few"]))
            elif hole == "number":
                values.append(str(rng.randrange(10 ** rng.randint(1, 4))))
            else:
                values.append(self.fresh(rng.choice(("word", "user", "id", "path"))))
        pieces = list(command["pieces"])
        for at, hole, before, behind in reversed(command["slots"]):
            pieces.insert(at, before + values[hole] + behind)
        return command["begin"] + command["join"].join(pieces) + command["end"] + "\n"

    def log(self, size):
        rng, out, made = self.rng, [], 0
        commands = [self.make_command() for _ in range(rng.choice((1, 2, 4, 10, 20)))]
        while made < size:
            command = rng.choice(commands)
            for _ in range(rng.randint(1, command["run"])):
                out.append(self.text_of(command))
                made += len(out[-1])
        return "".join(out)


def words_of(paths, size):
    """Words that come at least five times in the first size characters of each text."""
    words = collections.Counter()
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as f:
            words.update(re.findall(r"[A-Za-z]{2,14}", f.read(size)))
    return sorted(w for w, n in words.items() if n >= 5)


def made_logs(rng, common, _, program=Program, most=14):
    while True:
        few = rng.sample(common, rng.choice((20, 100, 400)))
        yield program(rng, few).log(int(2 ** rng.uniform(10, most)))


def made_lines(rng, common, _):
    def word():
        kind = rng.random()
        if kind < 0.6:
            return rng.choice(common)
        if kind < 0.8:
            return "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 8)))
        return str(rng.randrange(10 ** rng.randint(1, 6)))

    def line():
        begin = rng.choice(("", "[", "- ", "* "))
        join = rng.choice((" ", " ", ", ", "=", ": ", "/"))
        return begin + join.join(word() for _ in range(rng.randint(2, 16))) + "\n"

    while True:
        lines = [line() for _ in range(rng.choice((1, 1, 2, 3, 5)))]
        yield "".join(rng.choice(lines) for _ in range(rng.randint(8, 60)))


# ---- Real text in disguise ----

JOINERS = "/:.-_=,;@#|<>()[]{}*+&%'\"\\"


def like(rng, word, common):
    """Another word in the same case, one in three of letters that nobody has seen."""
    other = rng.choice(common) if rng.random() < 0.67 else "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 9)))
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other.lower()


def disguise(rng, text, common):
    """Words, joiners and now and then digits are others from end to end of a document: what follows what is its own matter,
    and what is known of real logs misleads."""
    of_words, of_joiners, of_digits = rng.choice((0.2, 0.5, 0.9)), rng.choice((0, 0.2, 0.6)), rng.random() < 0.2
    table = {}
    for one in sorted(set(re.findall(r"[A-Za-z]+", text))):
        if rng.random() < of_words:
            table[one] = like(rng, one, common)
    for one in JOINERS:
        if rng.random() < of_joiners:
            table[one] = rng.choice(JOINERS)
    if of_digits:
        table.update(zip("0123456789", rng.sample("0123456789", 10)))
    return re.sub(r"[A-Za-z]+|[^A-Za-z\s]", lambda found: table.get(found[0], found[0]), text)


def made_disguised(rng, common, texts):
    """Pieces of the last two texts, three in four of the last."""
    bodies = []
    for path in texts[-2:]:
        with open(path, encoding="utf-8", errors="replace") as f:
            bodies.append([one for one in f.read().split("\0") if len(one) > 2000])
    while True:
        body = rng.choice(bodies[rng.random() < 0.75])
        size = int(2 ** rng.uniform(12, 17))
        begin = body.find("\n", rng.randrange(max(1, len(body) - size))) + 1
        yield disguise(rng, body[begin:begin + size], common)


def programs(program, most):
    return functools.partial(made_logs, program=program, most=most)


# How the documents are made (of a generator, common words, the texts), and of how much of a text the words are.
KINDS = {"logs": (made_logs, 8 << 20), "lines": (made_lines, 4 << 20), "shapes": (programs(Shaped, 15), 8 << 20),
         "builds": (programs(Build, 15), 8 << 20), "long-shapes": (programs(Shaped, 17), 8 << 20),
         "long-builds": (programs(Build, 17), 8 << 20), "disguised": (made_disguised, 8 << 20)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("-o", dest="out", required=True)
    parser.add_argument("--mib", type=float, default=16)
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    make, size = KINDS[o.kind]
    documents = make(random.Random(o.seed), words_of(o.texts, size), o.texts)
    made = 0
    with open(o.out, "wb") as f:
        while made < o.mib * (1 << 20):
            text = next(documents).encode()
            f.write((b"\0" if made else b"") + text)
            made += len(text) + 1


if __name__ == "__main__":
    main()
