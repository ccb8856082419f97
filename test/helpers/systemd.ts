import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { root } from "./build.ts";
import { childrenOf, startChild } from "./child.ts";
import { until } from "./until.ts";

const run = promisify(execFile);

/** A real systemd, process 1 of namespaces of its own. */
export interface PrivateSystemd extends AsyncDisposable {
  /** Runs a program beside it; resolves with its output, whatever its exit code. */
  inside(...command: readonly string[]): Promise<string>;
  /** Properties of a unit by `systemctl show`. */
  show(unit: string): Promise<Readonly<Record<string, string>>>;
  /** The manager's own log. */
  readonly log: string;
}

/** Whether this process may make the namespaces and the control group systemd wants. */
export function canRunSystemd(): boolean {
  const trial =
    "mount -t tmpfs t /sys/fs/cgroup && mkdir /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd c /sys/fs/cgroup/systemd && test -x /lib/systemd/systemd && command -v systemctl nsenter";
  try {
    execFileSync("unshare", ["--mount", "--pid", "--fork", "--mount-proc", "--cgroup", "sh", "-c", trial], {
      stdio: "ignore",
    });
    return true;
  } catch {
    return false;
  }
}

/**
 * Starts systemd with the units of the repository. `project` is /opt/tq there and `installed` /opt/tq-lib;
 * `dropIn` is added to every service. What it writes below /run, /var/lib and /var/log is gone with it.
 */
export async function startSystemd(
  folder: string,
  options: { readonly project: string; readonly installed: string; readonly dropIn: string },
): Promise<PrivateSystemd> {
  const units = join(folder, "units");
  mkdirSync(units, { recursive: true });
  for (const unit of ["tq.service", "tq@.service", "tq-beat.service"]) {
    copyFileSync(join(root, "systemd", unit), join(units, unit));
    mkdirSync(join(units, `${unit}.d`));
    writeFileSync(join(units, `${unit}.d`, "test.conf"), options.dropIn);
  }
  for (const target of ["multi-user", "sysinit", "basic", "shutdown", "network-online"])
    writeFileSync(join(units, `${target}.target`), `[Unit]\nDescription=${target}\n`);
  const script = `set -e
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    for place in /run /opt /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs $place; done
    mkdir -p /run/systemd/system /run/lock /opt/tq /opt/tq-lib
    mount --bind "$PROJECT" /opt/tq
    mount --bind "$INSTALLED" /opt/tq-lib
    exec /lib/systemd/systemd --system --unit=multi-user.target`;
  const namespaces = ["--mount", "--pid", "--fork", "--mount-proc", "--cgroup", "--uts", "--ipc"];
  const child = startChild("unshare", [...namespaces, "--propagation", "private", "sh", "-c", script], {
    env: {
      ...process.env,
      PROJECT: options.project,
      INSTALLED: options.installed,
      container: "unshare",
      SYSTEMD_UNIT_PATH: units,
      SYSTEMD_LOG_TARGET: "console",
    },
  });
  const init = await until(() => childrenOf(child.pid)[0], { message: "process 1 of the namespaces" });
  const inside = async (...command: readonly string[]): Promise<string> => {
    const args = ["-t", String(init), "-m", "-p", "-C", "-i", "-u", "--", ...command];
    // A unit that does not start must not hold the test for its whole timeout.
    return await run("nsenter", args, { timeout: 45_000, killSignal: "SIGKILL" }).then(
      ({ stdout, stderr }) => stdout + stderr,
      (error: { stdout?: string; stderr?: string; message: string }) =>
        `${error.stdout}${error.stderr}${error.message}`,
    );
  };
  await until(async () => (await inside("systemctl", "is-active", "multi-user.target")).startsWith("active"), {
    timeout: 20,
    interval: 0.1,
    message: `systemd to be up; it said: ${child.output}`,
  });
  return {
    inside,
    async show(unit) {
      const text = await inside("systemctl", "show", unit);
      return Object.fromEntries(
        text.split("\n").map((line) => [line.split("=", 1)[0], line.slice(line.indexOf("=") + 1)]),
      );
    },
    get log() {
      return child.output;
    },
    async [Symbol.asyncDispose]() {
      // With process 1 everything in the namespaces is gone.
      process.kill(init, "SIGKILL");
      await child.kill();
    },
  };
}
