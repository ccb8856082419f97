import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/global-setup.ts"],
    setupFiles: ["test/helpers/leaks.ts"],
    // A fresh process per file: tests look at their own process, its children and its environment.
    pool: "forks",
    // They wait more than they compute: three at once keep two processors busy.
    maxWorkers: 3,
    // What is built is run as it is, by tests as by the children they start.
    server: { deps: { external: [/\/dist\//] } },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A test that passes the second time hides a race that users will meet.
    retry: 0,
  },
});
