import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";
import { root } from "./helpers/build.ts";

/**
 * The TypeScript of a page as files: a block whose first line names a file is that file, another
 * one a module of its own, and `sees` is put before it.
 */
function filesOf(page: string, sees: string): Map<string, string> {
  const folder = join(root, "examples", `of-${page.replaceAll(/\W/g, "-")}`);
  const blocks = [...readFileSync(join(root, page), "utf8").matchAll(/^```ts\n([\s\S]*?)^```/gm)];
  return new Map(
    blocks.map(([, code = ""], index) => {
      const named = /^\/\/ (\S+\.ts)\b/.exec(code)?.[1];
      const own = /^import /m.test(code);
      return [join(folder, named ?? `${index}.ts`), `${named || own ? "" : sees}\n${code}\nexport {};\n`] as const;
    }),
  );
}

/** What the blocks of README's tour take as read: what the blocks above them have made. */
const ofTheTour = 'import { Tq } from "tq"; import { add } from "./proj/tasks.ts";';
const afterTheTour = ofTheTour.replace('import { Tq } from "tq"; ', 'import { app } from "./proj/app.ts"; ');

test("the TypeScript of README and of the page on tasks compiles", () => {
  const readme = filesOf("README.md", ofTheTour);
  for (const [file, code] of readme)
    if (code.includes("inspect().active")) readme.set(file, `${afterTheTour}\n${code}`);
  const files = new Map([...readme, ...filesOf("docs/tasks.md", "")]);
  expect(files.size).toBeGreaterThan(8);
  const config = ts.readConfigFile(join(root, "tsconfig.json"), (path) => ts.sys.readFile(path)).config as object;
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = (path) => files.get(path) ?? readFile(path);
  host.fileExists = (path) => files.has(path) || fileExists(path);
  const exists = host.directoryExists?.bind(host);
  host.directoryExists = (path) =>
    [...files.keys()].some((file) => file.startsWith(`${path}/`)) || (exists?.(path) ?? true);
  host.getSourceFile = (path, target) => {
    const text = host.readFile(path);
    return text === undefined ? undefined : ts.createSourceFile(path, text, target);
  };
  const program = ts.createProgram([...files.keys()], options, host);
  const found = ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => {
    const line = file ? file.text.slice(0, start).split("\n").length : 0;
    return `${file && relative(root, file.fileName)}:${line}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
  });
  expect(found).toEqual([]);
}, 60_000);
