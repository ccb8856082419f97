import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** The TCP ports (IPv4) on which a process of this machine listens. */
export function listeningPorts(pid: number): readonly number[] {
  const own = new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)));
  const rows = readFileSync("/proc/net/tcp", "utf8").trim().split("\n").slice(1);
  return rows.flatMap((row) => {
    const [, local, , state, , , , , , inode] = row.trim().split(/\s+/);
    return state === "0A" && own.has(`socket:[${inode}]`) ? [Number.parseInt(local?.split(":")[1] as string, 16)] : [];
  });
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
