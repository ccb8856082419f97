import { execFile, execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { load, loadAll } from "js-yaml";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { root } from "../helpers/build.ts";
import { type Child, childrenOf, startChild } from "../helpers/child.ts";
import { describeWith } from "../helpers/services.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { describeAsRoot } from "../helpers/users.ts";

const dockerfile = readFileSync(join(root, "Dockerfile"), "utf8");

describeWith("shellcheck", "the scripts of the image", () => {
  test("are POSIX sh in which shellcheck finds nothing", () => {
    const files = ["entrypoint", "healthcheck"].map((name) => join(root, "docker", name));
    expect(execFileSync(process.env.TQ_TEST_SHELLCHECK as string, ["-s", "sh", ...files], { encoding: "utf8" })).toBe(
      "",
    );
  });
});

describe("the examples for containers and other supervisors", () => {
  test("are YAML, with probes, time to stop, and a grace that is shorter than it", () => {
    const compose = load(readFileSync(join(root, "docker", "compose.yaml"), "utf8")) as { services: object };
    expect(Object.keys(compose.services)).toEqual(["redis", "rabbitmq", "worker", "beat"]);
    const documents = loadAll(readFileSync(join(root, "kubernetes", "tq.yaml"), "utf8")) as {
      kind: string;
      spec: { template?: { spec: { terminationGracePeriodSeconds: number; containers: Record<string, never>[] } } };
    }[];
    expect(documents.map(({ kind }) => kind)).toEqual([
      "Deployment",
      "ScaledObject",
      "Deployment",
      "PersistentVolumeClaim",
    ]);
    const pod = documents[0]?.spec.template?.spec;
    const [container] = pod?.containers ?? [];
    expect(Object.keys(container ?? {})).toEqual(
      expect.arrayContaining(["startupProbe", "livenessProbe", "readinessProbe"]),
    );
    const env = container?.env as unknown as { name: string; value?: string }[];
    const grace = Number(env.find(({ name }) => name === "TQ_WORKER_GRACE")?.value);
    expect(grace).toBeGreaterThan(0);
    expect(grace).toBeLessThan(pod?.terminationGracePeriodSeconds as number);
  });

  test("name commands tq has", () => {
    for (const file of readdirSync(join(root, "extra", "supervisord"))) {
      expect(readFileSync(join(root, "extra", "supervisord", file), "utf8")).toMatch(
        /^command=tq -A proj (worker|beat) /m,
      );
    }
    for (const file of readdirSync(join(root, "extra", "launchd"))) {
      expect(readFileSync(join(root, "extra", "launchd", file), "utf8")).toMatch(/<string>(worker|beat)<\/string>/);
    }
  });
});

/** What the last stage copies, as the Dockerfile says it. */
const copied = [...dockerfile.matchAll(/^COPY --from=build \/src\/(\S+) (\/opt\/\S+)$/gm)].map(
  (match) => [match[1], match[2]] as const,
);
const environment = Object.fromEntries(
  [...(/^ENV (.*)$/m.exec(dockerfile)?.[1] ?? "").matchAll(/(\w+)=(\S+)/g)].map((match) => [match[1], match[2]]),
);

const run = promisify(execFile);

describeAsRoot("a container, built by hand from what the Dockerfile copies,", () => {
  let folder: TemporaryFolder;
  let image: string;
  let app: string;

  beforeAll(async () => {
    folder = await temporaryFolder("tq-image-");
    execFileSync("chmod", ["755", folder.path]);
    image = folder.file("image");
    for (const [from, to] of copied)
      cpSync(join(root, from as string), join(image, to as string), { recursive: true, verbatimSymlinks: true });
    mkdirSync(join(image, "opt/tq/docker"), { recursive: true });
    for (const name of ["entrypoint", "healthcheck"])
      cpSync(join(root, "docker", name), join(image, "opt/tq/docker", name));
    app = folder.file("app");
    mkdirSync(app);
    writeFileSync(
      join(app, "proj.mjs"),
      `import { appendFileSync } from "node:fs";
       import { spawn } from "node:child_process";
       import { setTimeout as sleep } from "node:timers/promises";
       import { Tq } from "tq";
       export const app = new Tq("proj", { broker: "sqlite:///app/tq.db", backend: "sqlite:///app/tq.db" });
       app.task("proj.slow", { acksLate: true }, async (name, seconds) => {
         appendFileSync("/app/marks", "begin " + name + "\\n");
         await sleep(seconds * 1000);
         appendFileSync("/app/marks", "end " + name + "\\n");
       });
       app.task("proj.orphan", () => void spawn("sh", ["-c", "sleep 3 & exit"], { detached: true }));
       app.task("proj.who", () => ({ uid: process.getuid(), parent: process.ppid }));`,
    );
    execFileSync("chown", ["-R", "10001:10001", app]);
  });
  afterAll(() => folder[Symbol.asyncDispose]());

  /** Starts the image with its entrypoint as process 1, in namespaces and a root of its own. */
  function start(...args: readonly string[]): Child {
    const script = `set -e
      mount -t tmpfs root /mnt && cd /mnt
      mkdir usr etc proc dev tmp app opt node_modules run
      for link in bin sbin lib lib64; do [ -e /$link ] || continue; if [ -L /$link ]; then cp -a /$link $link; else mkdir $link; mount --rbind /$link $link; fi; done
      for place in usr etc dev; do mount --rbind /$place $place; done
      mount -t proc proc proc && chmod 1777 tmp
      mount --bind "$IMAGE/opt" opt && mount -o remount,ro,bind opt
      mount --bind "$APP" app && ln -s /opt/tq node_modules/tq
      hostname box
      exec chroot . setpriv --reuid 10001 --regid 10001 --clear-groups env -i -C /app PATH="$PATH" $SETTINGS /opt/tq/docker/entrypoint "$@"`;
    const settings = Object.entries({ ...environment, TQ_APP: "./proj.mjs", HOME: "/app", NO_COLOR: "1" });
    return startChild(
      "unshare",
      [
        "--mount",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "container",
        ...args,
      ],
      {
        env: {
          ...process.env,
          IMAGE: image,
          APP: app,
          SETTINGS: settings.map(([key, value]) => `${key}=${value}`).join(" "),
        },
      },
    );
  }
  const processOne = (child: Child): number => childrenOf(child.pid)[0] as number;
  const marks = (): string[] => readFileSync(join(app, "marks"), "utf8").split("\n").filter(Boolean);
  const client = () =>
    new Tq("client", { broker: `sqlite://${join(app, "tq.db")}`, backend: `sqlite://${join(app, "tq.db")}` });

  test("runs a worker as an ordinary user, is healthy, and on TERM finishes what it can in its grace", async () => {
    expect(copied.length).toBe(4);
    expect(environment.TQ_WORKER_GRACE).toBe("8");
    const container = start("worker", "-l", "INFO", "-c", "2");
    try {
      await container.printed(/celery@box ready\.$/);
      await using tq = client();
      expect(await (await tq.sendTask("proj.who")).get({ timeout: 15 })).toMatchObject({ uid: 10_001 });
      const one = processOne(container);
      const health = [
        "-t",
        String(one),
        "-m",
        "-p",
        "-u",
        "-r",
        "-w",
        "--",
        "setpriv",
        "--reuid",
        "10001",
        "--regid",
        "10001",
        "--clear-groups",
      ];
      const env = Object.entries({ ...environment, TQ_APP: "./proj.mjs", HOME: "/app", PATH: process.env.PATH }).map(
        (pair) => pair.join("="),
      );
      const { stdout } = await run("nsenter", [
        ...health,
        "env",
        "-i",
        "-C",
        "/app",
        ...env,
        "/opt/tq/docker/healthcheck",
      ]);
      expect(stdout).toContain("celery@box: OK");
      await tq.sendTask("proj.slow", ["short", 1]);
      await tq.sendTask("proj.slow", ["long", 60]);
      await until(() => marks().length === 2);
      process.kill(one, "SIGTERM");
      const asked = performance.now();
      const exit = await container.exited;
      expect(exit.signal).toBeNull();
      // Docker's ten seconds were not used up.
      expect(performance.now() - asked).toBeLessThan(9_900);
      expect(marks()).toContain("end short");
      expect(marks()).not.toContain("end long");
      expect(await (await tq.broker()).size("celery")).toBe(1);
    } finally {
      await container.kill();
    }
  });

  test("buries what orphans leave: process 1 is one that can", async () => {
    await using tq = client();
    await (await tq.broker()).purge("celery"); // what the container before gave back
    const nodes = start("multi", "run", "1", "-A", "./proj.mjs", "-c", "1", "-l", "INFO", "--pidfile=/tmp/%n.pid");
    try {
      await nodes.printed(/celery1@box ready\.$/);
      const one = processOne(nodes);
      expect(readFileSync(`/proc/${one}/cmdline`, "utf8")).toMatch(/^tini\0/);
      const family = (): string[] =>
        childrenOf(one).map((pid) => {
          try {
            return readFileSync(`/proc/${pid}/stat`, "utf8");
          } catch {
            return ""; // gone in this moment
          }
        });
      await (await tq.sendTask("proj.orphan")).get({ timeout: 15 });
      await until(() => family().some((stat) => stat.includes("(sleep)")), {
        message: "the orphan to come to process 1",
      });
      await until(() => !family().some((stat) => stat.includes("(sleep)")), { message: "the orphan to be buried" });
      process.kill(one, "SIGTERM");
      expect(await nodes.exited).toEqual({ code: 0, signal: null });
    } finally {
      await nodes.kill();
    }
  });

  test("runs beat, multi run, help and any other program, and keeps their exit codes", async () => {
    const nodes = start("multi", "run", "2", "-A", "./proj.mjs", "-c", "1", "-l", "INFO", "--pidfile=/tmp/%n.pid");
    const beat = start("beat", "-l", "INFO", "-s", "/tmp/schedule");
    try {
      await beat.printed("beat: Starting...");
      await nodes.printed(/celery1@box ready\.$/);
      await nodes.printed(/celery2@box ready\.$/);
      process.kill(processOne(beat), "SIGTERM");
      expect(await beat.exited).toEqual({ code: 0, signal: null });
      process.kill(processOne(nodes), "SIGTERM");
      expect(await nodes.exited).toEqual({ code: 0, signal: null });
      const other = start("sh", "-c", "echo $$ $(id -u); exit 7");
      expect((await other.exited).code).toBe(7);
      expect(other.output).toContain("10001");
      const wrong = start("worker", "--no-such-option");
      expect((await wrong.exited).code).toBe(2);
    } finally {
      await nodes.kill();
      await beat.kill();
    }
  });
});
