import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";
import { root } from "./helpers/build.ts";

/** What users' compilers read: the declarations reachable from the public face. */
function reachable(entry: string, seen = new Set<string>()): Set<string> {
  if (seen.has(entry)) return seen;
  seen.add(entry);
  const { importedFiles } = ts.preProcessFile(readFileSync(entry, "utf8"));
  for (const { fileName } of importedFiles) {
    if (!fileName.startsWith(".")) continue;
    reachable(join(entry, "..", fileName.replace(/\.[jt]s$/, ".d.ts")), seen);
  }
  return seen;
}

test("no `any` reaches a user", () => {
  const dist = join(root, "dist");
  const entries = ["index.d.ts", "testing.d.ts"].map((name) => join(dist, name));
  const files = entries.flatMap((entry) => [...reachable(entry)]);
  expect(files.length).toBeGreaterThan(50);
  expect(readdirSync(dist)).toContain("index.d.ts");
  const found: string[] = [];
  for (const file of new Set(files)) {
    const source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, true);
    const visit = (node: ts.Node): void => {
      if (node.kind === ts.SyntaxKind.AnyKeyword) {
        const { line } = source.getLineAndCharacterOfPosition(node.getStart());
        found.push(`${file.slice(dist.length + 1)}:${line + 1}: ${node.parent.getText().split("\n")[0]}`);
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  expect(found).toEqual([]);
});
