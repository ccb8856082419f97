import { IncompleteStream } from "../errors.ts";
import type { GetOptions, LookUpOptions, ResultHandle, StoredResult } from "./result-handle.ts";

/** A result and its value. */
export type Collected = readonly [result: ResultHandle, value: unknown];

/** A result and the one that led to it; null for where the walk began. */
export type Dependency = readonly [parent: ResultHandle | null, result: ResultHandle];

/** Parents and children breadth first, as Celery's `iterdeps`. A task that lists itself is not walked twice. */
export async function* iterateDependencies(
  start: ResultHandle,
  { intermediate = false, ...lookUp }: LookUpOptions & { readonly intermediate?: boolean },
): AsyncGenerator<Dependency, void, undefined> {
  const waiting: Dependency[] = [[null, start]];
  const seen = new Set<string>();
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const [, node] = next;
    yield next;
    if (seen.has(node.id)) continue;
    seen.add(node.id);
    if (isGroup(node) || (await node.ready(lookUp))) {
      for (const child of await node.children(lookUp)) if (!seen.has(child.id)) waiting.push([node, child]);
    } else if (!intermediate) throw new IncompleteStream(`the result of ${node.id} is not there yet`);
  }
}

/** Every result below this one with its value, waited for in the order of the walk. */
export async function* collect(
  start: ResultHandle,
  options: GetOptions & { readonly intermediate?: boolean } = {},
): AsyncGenerator<Collected, void, undefined> {
  const waiting: ResultHandle[] = [start];
  const seen = new Set<string>();
  for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) {
    if (seen.has(node.id)) continue;
    seen.add(node.id);
    const value = await node.get(options);
    if (!isGroup(node) || options.intermediate || node === start) yield [node, value];
    waiting.push(...(await node.children(options)));
  }
}

const isGroup = (node: ResultHandle): boolean => node.leaves.length !== 1 || node.leaves[0] !== node.id;

/** Everything that came before a result, the first one first. */
function ancestors(result: ResultHandle): readonly ResultHandle[] {
  const steps: ResultHandle[] = [];
  for (let step = result.parent; step !== null; step = step.parent) steps.unshift(step);
  return steps;
}

/**
 * The single steps before a result. Members of a group are not among them: the chord
 * they belong to tells of their failure.
 */
export function stepsBefore(result: ResultHandle): readonly StoredResult[] {
  return ancestors(result).flatMap((step) => (isGroup(step) ? [] : step.stored));
}

/** Throws the first error among what came before: in its words a failure is told (inventory D67). */
export async function throwOfParents(result: ResultHandle, options: LookUpOptions): Promise<void> {
  for (const step of ancestors(result)) await step.maybeThrow(options);
}

/** Which result led to which. */
export class DependencyGraph {
  readonly nodes = new Map<string, ResultHandle>();
  /** Ids of what each one led to. */
  readonly edges = new Map<string, Set<string>>();

  add(node: ResultHandle): void {
    this.nodes.set(node.id, node);
    if (!this.edges.has(node.id)) this.edges.set(node.id, new Set());
  }

  connect(parent: ResultHandle, child: ResultHandle): void {
    this.add(parent);
    this.add(child);
    if (parent.id !== child.id) this.edges.get(parent.id)?.add(child.id);
  }

  /** Each one before what it led to. */
  topsort(): ResultHandle[] {
    const sorted: ResultHandle[] = [];
    const done = new Set<string>();
    const visit = (id: string): void => {
      if (done.has(id)) return;
      done.add(id);
      for (const child of this.edges.get(id) ?? []) visit(child);
      sorted.unshift(this.nodes.get(id) as ResultHandle);
    };
    for (const id of this.nodes.keys()) visit(id);
    return sorted;
  }

  /** The graph in the language of GraphViz' `dot`. */
  toDot(name = "dependencies"): string {
    const quoted = (text: string): string => JSON.stringify(text);
    const lines = [...this.nodes.keys()].map((id) => `  ${quoted(id)} [label=${quoted(id)}];`);
    for (const [id, children] of this.edges) {
      for (const child of children) lines.push(`  ${quoted(id)} -> ${quoted(child)};`);
    }
    return `digraph ${quoted(name)} {\n${lines.join("\n")}\n}\n`;
  }
}

export async function buildGraph(
  start: ResultHandle,
  options: LookUpOptions & { readonly intermediate?: boolean },
): Promise<DependencyGraph> {
  const graph = new DependencyGraph();
  for await (const [parent, node] of iterateDependencies(start, options)) {
    graph.add(node);
    if (parent !== null) graph.connect(parent, node);
  }
  return graph;
}
