import type { ServiceHost, WorkerService } from "../app/services.ts";
import { ImproperlyConfigured } from "../errors.ts";
import type { Service } from "../util/service.ts";

/**
 * Puts a user's services among the worker's own, whose order stays. Each stands as late as what it
 * must precede allows. Pure. Throws `ImproperlyConfigured` for names that nothing has and for
 * wishes that contradict each other.
 */
export function placeServices(
  own: readonly Service[],
  custom: Iterable<WorkerService>,
  host: ServiceHost,
): readonly Service[] {
  const placed = [...own];
  let rest = [...custom];
  const known = new Set([...own, ...rest].map(({ name }) => name));
  for (const service of rest) {
    const strange = [...namesOf(service.after), ...namesOf(service.before)].filter((name) => !known.has(name));
    if (strange.length > 0) {
      throw new ImproperlyConfigured(
        `service ${service.name}: there is no service ${strange.join(", ")}; there are ${[...known].join(", ")}`,
      );
    }
  }
  while (rest.length > 0) {
    const waiting = rest.filter((service) => !place(service, placed, rest, host));
    if (waiting.length === rest.length) {
      const names = waiting.map(({ name }) => name).join(", ");
      throw new ImproperlyConfigured(
        `the services ${names} cannot be ordered: their \`after\` and \`before\` contradict`,
      );
    }
    rest = waiting;
  }
  return placed;
}

/** False while something it stands beside is not there yet, or where there is no room for it. */
function place(service: WorkerService, placed: Service[], rest: readonly WorkerService[], host: ServiceHost): boolean {
  const index = (name: string): number => placed.findIndex((other) => other.name === name);
  const [after, before] = [namesOf(service.after), namesOf(service.before)];
  const awaited = [...after, ...before].some((name) => index(name) < 0 && rest.some((other) => other.name === name));
  if (awaited) return false;
  const first = Math.max(0, ...after.map((name) => index(name) + 1));
  const last = Math.min(placed.length, ...before.map(index));
  if (first > last) return false;
  placed.splice(after.length > 0 && before.length === 0 ? first : last, 0, asService(service, host));
  return true;
}

function asService(service: WorkerService, host: ServiceHost): Service {
  return {
    name: service.name,
    start: async () => service.start?.(host),
    stop: async (signal) => service.stop?.(signal),
  };
}

function namesOf(names: string | readonly string[] | undefined): readonly string[] {
  return names === undefined ? [] : typeof names === "string" ? [names] : names;
}
