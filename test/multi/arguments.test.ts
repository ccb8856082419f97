import fc from "fast-check";
import { expect, test } from "vitest";
import { type MultiArguments, parseMultiArguments, signalOf } from "../../src/multi/arguments.ts";
import { expandFor, nameNodes } from "../../src/multi/names.ts";
import { commandLine, type Node, planNodes } from "../../src/multi/node.ts";
import { joinWords, splitWords } from "../../src/multi/words.ts";

const host = "myhost";

const flags = new Map<string, boolean>([
  ...["-A", "--app", "-b", "-c", "--concurrency", "-l", "--loglevel", "-L", "-Q", "-O", "-n", "--timeout"].map(
    (flag) => [flag, true] as const,
  ),
  ...["-E", "-B", "--without-gossip"].map((flag) => [flag, false] as const),
]);

function parse(line: string, signals = false): MultiArguments {
  return parseMultiArguments(splitWords(line), { takesValue: (flag) => flags.get(flag), signals });
}

function plan(line: string): Node[] {
  return planNodes({
    arguments: parse(line),
    host,
    cwd: "/work",
    execPath: "/bin/node",
    tq: "/tq/bin/tq.js",
  });
}

/** As the examples of Celery's manual show them: files left out, the name first. */
function shown(line: string): string[] {
  return plan(line).map(({ argv, name }) => {
    const rest = argv.filter((word) => !/^--(pidfile|logfile|detach)/.test(word));
    const at = rest.indexOf("-n");
    return joinWords(["tq", "worker", "-n", name, ...rest.slice(2, at), ...rest.slice(at + 2)]);
  });
}

test.each([
  ["3 -c 3", ["-n celery1@myhost -c 3", "-n celery2@myhost -c 3", "-n celery3@myhost -c 3"]],
  ["3 --range-prefix=worker -c 3", ["-n worker1@myhost -c 3", "-n worker2@myhost -c 3", "-n worker3@myhost -c 3"]],
  ["image video data -c 3", ["-n image@myhost -c 3", "-n video@myhost -c 3", "-n data@myhost -c 3"]],
  [
    "2 --hostname=worker.example.com -c 3",
    ["-n celery1@worker.example.com -c 3", "-n celery2@worker.example.com -c 3"],
  ],
  ["foo@worker.example.com bar@%h -c 3", ["-n foo@worker.example.com -c 3", "-n bar@myhost -c 3"]],
  ["3 -c 3 -c:1 10", ["-n celery1@myhost -c 10", "-n celery2@myhost -c 3", "-n celery3@myhost -c 3"]],
  ["image video data -c 3 -c:image 10", ["-n image@myhost -c 10", "-n video@myhost -c 3", "-n data@myhost -c 3"]],
  [
    "5 -c 3 -c:1-3 10",
    [
      "-n celery1@myhost -c 10",
      "-n celery2@myhost -c 10",
      "-n celery3@myhost -c 10",
      "-n celery4@myhost -c 3",
      "-n celery5@myhost -c 3",
    ],
  ],
  [
    "foo bar baz xuzzy -c 3 -c:foo,bar,baz 10",
    ["-n foo@myhost -c 10", "-n bar@myhost -c 10", "-n baz@myhost -c 10", "-n xuzzy@myhost -c 3"],
  ],
])("the example `tq multi start %s` makes the nodes it is said to make", (line, nodes) => {
  expect(shown(line)).toEqual(nodes.map((node) => `tq worker ${node}`));
});

test("ten nodes share their options by ranges and lists, and -L is -l", () => {
  const nodes = shown("10 -l INFO -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 debug");
  const line = (number: number, options: string): string => `tq worker -n celery${number}@myhost ${options}`;
  expect(nodes).toEqual([
    ...[1, 2, 3].map((number) => line(number, "-l INFO -Q images,video")),
    ...[4, 5].map((number) => line(number, "-l debug -Q data")),
    ...[6, 7, 8, 9, 10].map((number) => line(number, "-l INFO -Q default")),
  ]);
});

test("a whole command line is what a shell would need", () => {
  const [node] = plan(
    "w1 -A proj -l INFO --pidfile=/run/my tq/%n.pid --logfile='/log/%n%I.log' -- worker.prefetch_multiplier=1",
  );
  expect(commandLine(node as Node)).toBe(
    "/bin/node /tq/bin/tq.js -A proj worker --detach -l INFO --pidfile=/run/my --logfile=/log/w1%I.log -n w1@myhost -- worker.prefetch_multiplier=1",
  );
  const [spaced] = plan("w1 --pidfile='/run/my tq/%n.pid'");
  expect(commandLine(spaced as Node)).toContain(" '--pidfile=/run/my tq/w1.pid' ");
  expect(spaced).toMatchObject({ pidfile: "/run/my tq/w1.pid", logfile: "/work/w1.log" });
});

test("files lie in the folder one is in, or in the one the nodes work in", () => {
  expect(plan("w1")[0]).toMatchObject({ pidfile: "/work/w1.pid", logfile: "/work/w1.log", workdir: "/work" });
  expect(plan("w1 --workdir=/srv/app --pidfile=run/%N.pid -f %h.log")[0]).toMatchObject({
    pidfile: "/srv/app/run/w1.pid",
    logfile: "/srv/app/w1@myhost.log",
    workdir: "/srv/app",
  });
});

test("the options that are known are known to have a value or not", () => {
  const { words, options } = parse("-E w1 --concurrency 3 -Ofair w2 --timeout 5 -Aproj.sub:app --without-gossip w3");
  expect(words).toEqual(["w1", "w2", "w3"]);
  expect([...options]).toEqual([
    ["-E", null],
    ["--concurrency", "3"],
    ["-O", "fair"],
    ["--timeout", "5"],
    ["-A", "proj.sub:app"],
    ["--without-gossip", null],
  ]);
});

test("of those that are not, a short one swallows the next word and a long one does not, as in Celery", () => {
  const { words, options } = parse("w1 -z 1 --zz w2 --yy=3 -y -x 4");
  expect(words).toEqual(["w1", "w2"]);
  expect([...options]).toEqual([
    ["-z", "1"],
    ["--zz", null],
    ["--yy", "3"],
    ["-y", null],
    ["-x", "4"],
  ]);
});

test("glued values may be for one node only", () => {
  expect(parse("w1 -c:w2 4 -Ofair:w1 --loglevel:w1=debug --app:w2=a:b").scoped).toEqual([
    { scope: "w2", flag: "-c", value: "4" },
    { scope: "w1", flag: "-O", value: "fair" },
    { scope: "w1", flag: "--loglevel", value: "debug" },
    { scope: "w2", flag: "--app", value: "a:b" },
  ]);
});

test("a signal is one where signals are sent, and an option elsewhere", () => {
  expect(parse("stop w1 -QUIT", true).signal).toBe("SIGQUIT");
  expect(parse("w1 -9", true).signal).toBe("SIGKILL");
  expect(parse("w1 -SIGHUP -l INFO", true)).toMatchObject({ signal: "SIGHUP", words: ["w1"] });
  expect(parse("-INT w1", true)).toMatchObject({ signal: "SIGINT", words: ["w1"] });
  expect(parse("w1 -QUIT").signal).toBeNull();
  expect([signalOf("-term"), signalOf("-15"), signalOf("-Q"), signalOf("-99"), signalOf("TERM")]).toEqual([
    "SIGTERM",
    "SIGTERM",
    undefined,
    undefined,
    undefined,
  ]);
});

test("what says more exactly whom it means is stronger, in any order", () => {
  const values = (line: string): (string | undefined)[] => plan(line).map(({ argv }) => argv[argv.indexOf("-c") + 1]);
  expect(values("3 -c:1 5 -c:1-3 10 -c 1")).toEqual(["5", "10", "10"]);
  expect(values("a b c -c:b 5 -c:a,b 10 -c 1")).toEqual(["10", "5", "1"]);
  expect(values("a b c -c 1 -c:1,3 9")).toEqual(["9", "1", "9"]);
  expect(values("a b -c 1 -c:b@myhost 9")).toEqual(["1", "9"]);
});

test("an option for nodes that are not there has no effect, and an index that cannot be is refused", () => {
  expect(shown("a -c 1 -c:b 2 -c:3-5 3 -c:7,8 4")).toEqual(["tq worker -n a@myhost -c 1"]);
  expect(() => plan("a b -c:0 2")).toThrow("Indexes start at 1 got: '0'");
  expect(() => plan("a b -c:3 2")).toThrow("No node at index '3': there are 2");
  expect(() => plan("5 -c:3-1 2")).toThrow("'3-1' is no range of nodes");
  expect(() => plan("a a")).toThrow("the node a@myhost is named twice");
});

test("names have prefixes, suffixes and hosts", () => {
  const names = (line: string): string[] => plan(line).map(({ name }) => name);
  expect(names("a b --prefix=x- --suffix=h1")).toEqual(["x-a@h1", "x-b@h1"]);
  expect(names(`a b --suffix='""'`)).toEqual(["a@", "b@"]);
  expect(names("2 -n example.com")).toEqual(["celery1@example.com", "celery2@example.com"]);
  expect(names("2 --prefix=x")).toEqual(["celery1@myhost", "celery2@myhost"]);
  expect(plan(`a --suffix='""'`)[0]).toMatchObject({ name: "a@", nodename: "a@myhost" });
});

test("every expansion means what it means in Celery", () => {
  const [node] = nameNodes({ words: ["foo"], suffix: "host.example.com", host });
  expect(expandFor(node as never, "%n %N %h %p %d %% %i %I %P %x")).toBe(
    "foo foo foo@host.example.com foo@host.example.com host.example.com % %i %I %P %x",
  );
});

test("another command, and what is added to it", () => {
  const [node] = plan(
    "w1 --cmd='-m celery worker --detach' --executable=/usr/bin/python3 -A proj --append='-E --x=\"a b\"'",
  );
  expect(node).toMatchObject({ program: "/usr/bin/python3", isOurs: false });
  expect(node?.args).toEqual([
    ...[
      "-m",
      "celery",
      "-A",
      "proj",
      "worker",
      "--detach",
      "-n",
      "w1@myhost",
      "--pidfile=w1.pid",
      "--logfile=w1%I.log",
    ],
    ...["-E", "--x=a b"],
  ]);
  expect(plan("w1 --cmd='tq beat'")[0]).toMatchObject({ program: "/bin/node", isOurs: false });
  expect(plan("w1 --executable=/opt/node")[0]).toMatchObject({ program: "/opt/node", isOurs: true });
  expect(() => plan("w1 --cmd='-m celery worker'")).toThrow("name the program it is for with --executable");
  expect(() => plan("w1 --cmd='tq worker")).toThrow();
});

test("words survive a shell", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ minLength: 1 })), (words) => {
      expect(splitWords(joinWords(words))).toEqual(words);
    }),
  );
});
