import { describe, expect, test } from "vitest";
import { commandNamed, compileArguments, visibleCommands } from "../../src/cli/remote-arguments.ts";
import { colored, onlineText, plain, replyText } from "../../src/cli/remote-text.ts";
import { builtinCommands } from "../../src/worker/control/registry.ts";

const show = (reply: unknown, quiet = false): string =>
  replyText("w1@host", reply, { style: plain, body: true, quiet });
const named = (kind: "inspect" | "control", name: string) => commandNamed(builtinCommands, kind, name);

describe("a worker's answer looks as in celery inspect", () => {
  test("whatever it is", () => {
    expect(show({ ok: "pong" })).toBe("->  w1@host: OK\n        pong");
    expect(show({ error: "unknown task" })).toBe("->  w1@host: ERROR\n        unknown task");
    expect(show([])).toBe("->  w1@host: OK\n    - empty -");
    expect(show(["a", { id: "x", args: [1], done: null }])).toBe(
      "->  w1@host: OK\n    * a\n    * {'id': 'x', 'args': [1], 'done': None}",
    );
    expect(show({ b: [1], a: { d: 1, c: null } })).toBe(
      '->  w1@host: OK\n    {\n        "a": {\n            "c": null,\n            "d": 1\n        },\n' +
        '        "b": [\n            1\n        ]\n    }',
    );
    expect(show("two\nlines")).toBe("->  w1@host: OK\n    two\n    lines");
    expect(show(null)).toBe("->  w1@host: OK\n    None");
    expect(show({ ok: "pong" }, true)).toBe(" w1@host: OK\n        pong");
    expect(replyText("w1@host", { ok: "pong" }, { style: plain, body: false, quiet: false })).toBe("->  w1@host: OK");
    expect(onlineText(1)).toBe("\n1 node online.");
    expect(onlineText(2)).toBe("\n2 nodes online.");
  });

  test("in colour on a terminal", () => {
    expect(replyText("w1", { error: "x" }, { style: colored, body: false, quiet: false })).toBe(
      "\u001b[1;37m->\u001b[0m  \u001b[1;36mw1: \u001b[0m\u001b[1;31mERROR\u001b[0m",
    );
  });
});

describe("words of a command line become arguments", () => {
  test("by the description of the command", () => {
    expect(compileArguments(named("control", "rate_limit"), ["proj.add", "10/m"])).toEqual({
      task_name: "proj.add",
      rate_limit: "10/m",
    });
    expect(compileArguments(named("control", "time_limit"), ["proj.add", "1.5"])).toEqual({
      task_name: "proj.add",
      soft: 1.5,
    });
    expect(compileArguments(named("control", "terminate"), ["SIGKILL", "a", "b"])).toEqual({
      signal: "SIGKILL",
      task_id: ["a", "b"],
    });
    expect(compileArguments(named("control", "pool_grow"), ["2"])).toEqual({ n: 2 });
    expect(compileArguments(named("control", "pool_grow"), [])).toEqual({});
    expect(compileArguments(named("inspect", "conf"), ["include_defaults=True"])).toEqual({ with_defaults: true });
    expect(compileArguments(named("inspect", "registered"), [])).toEqual({ taskinfoitems: [] });
  });

  test("or are refused with what is expected", () => {
    expect(() => compileArguments(named("control", "pool_grow"), ["2", "3"])).toThrow(
      "Command 'pool_grow' takes arguments: [N=1]",
    );
    expect(() => compileArguments(named("control", "pool_grow"), ["two"])).toThrow("n must be a whole number");
    expect(() => compileArguments(named("inspect", "ping"), ["me"])).toThrow("Command 'ping' takes no arguments");
    expect(() => compileArguments(named("inspect", "conf"), ["perhaps"])).toThrow("true or false");
    expect(() => named("inspect", "shutdown")).toThrow(/Available inspect commands: active, .* tq control shutdown$/);
    expect(() => named("inspect", "hello")).toThrow(/^Command hello not recognized/);
  });

  test("there are Celery's commands, all of them", () => {
    const names = (kind: "inspect" | "control") => visibleCommands(builtinCommands, kind).map(({ name }) => name);
    expect(names("inspect")).toEqual(
      "active active_queues clock conf memdump memsample objgraph ping query_task registered report reserved revoked scheduled stats".split(
        " ",
      ),
    );
    expect(names("control")).toEqual(
      (
        "add_consumer autoscale cancel_consumer disable_events election enable_events heartbeat pool_grow pool_restart " +
        "pool_shrink rate_limit revoke revoke_by_stamped_headers shutdown terminate time_limit"
      ).split(" "),
    );
  });
});
