import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";

/**
 * How many CPUs this process may use: those its affinity allows, but no more than the quota of
 * its control group (rounded up), which Node learned to see only in version 22.
 */
export function cpuCount(options: { readonly root?: string; readonly available?: number } = {}): number {
  const available = options.available ?? availableParallelism();
  const quota = cgroupQuota(options.root ?? "/");
  return Math.max(1, Math.min(available, quota === undefined ? available : Math.ceil(quota)));
}

/** The smallest CPU quota of the control groups this process is in; undefined when there is none. */
function cgroupQuota(root: string): number | undefined {
  const membership = read(join(root, "proc/self/cgroup"));
  if (membership === undefined) return undefined;
  const quotas = membership.split("\n").flatMap((line) => {
    const [hierarchy, controllers, path] = line.split(":");
    if (path === undefined) return [];
    if (hierarchy === "0" && controllers === "") return ancestors(path).map((group) => quotaV2(root, group));
    if (!controllers?.split(",").includes("cpu")) return [];
    return ancestors(path).map((group) => quotaV1(root, controllers, group));
  });
  const limited = quotas.filter((quota) => quota !== undefined);
  return limited.length === 0 ? undefined : Math.min(...limited);
}

/** `/a/b` → `/a/b`, `/a`, `/`: a group has no more than the groups it is in; in a container only the last exists. */
function ancestors(path: string): string[] {
  const names = path.split("/").filter((name) => name !== "");
  return Array.from({ length: names.length + 1 }, (_, n) => `/${names.slice(0, names.length - n).join("/")}`);
}

function quotaV2(root: string, group: string): number | undefined {
  const [quota, period] =
    read(join(root, "sys/fs/cgroup", group, "cpu.max"))
      ?.trim()
      .split(" ") ?? [];
  return ratio(quota, period);
}

function quotaV1(root: string, controllers: string, group: string): number | undefined {
  for (const mount of new Set([controllers, "cpu"])) {
    const folder = join(root, "sys/fs/cgroup", mount, group);
    const quota = ratio(read(join(folder, "cpu.cfs_quota_us")), read(join(folder, "cpu.cfs_period_us")));
    if (quota !== undefined) return quota;
  }
  return undefined;
}

/** No limit is written as `max` in version 2 and as -1 in version 1. */
function ratio(quota: string | undefined, period: string | undefined): number | undefined {
  const cpus = Number(quota) / Number(period);
  return Number.isFinite(cpus) && cpus > 0 ? cpus : undefined;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
