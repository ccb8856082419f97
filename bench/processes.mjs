// CPU time and memory of a process and all its descendants, from /proc.
import { readdirSync, readFileSync } from "node:fs";

const ticksPerSecond = 100;

function statOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return {
      pid,
      ppid: Number(fields[1]),
      cpu: (Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14])) / ticksPerSecond,
    };
  } catch {
    return undefined;
  }
}

/** The process ids of a tree, its root first. */
export function treeOf(root) {
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .map(statOf)
    .filter(Boolean);
  const tree = [root];
  for (let i = 0; i < tree.length; i += 1)
    tree.push(...all.filter((stat) => stat.ppid === tree[i]).map((stat) => stat.pid));
  return tree;
}

/** Seconds of CPU the tree has used, children that have ended included. */
export const cpuOf = (root) => treeOf(root).reduce((sum, pid) => sum + (statOf(pid)?.cpu ?? 0), 0);

/** MiB: resident and proportional memory of a tree. */
export function memoryOf(root) {
  let [rss, pss] = [0, 0];
  for (const pid of treeOf(root)) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      rss += Number(/^Rss:\s+(\d+)/m.exec(text)?.[1] ?? 0) / 1024;
      pss += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0) / 1024;
    } catch {
      // gone meanwhile
    }
  }
  return { rss, pss };
}
