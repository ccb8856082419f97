import { type } from "arktype";
import * as v from "valibot";
import { describe, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import { ValidationError } from "../../src/index.ts";
import { stage, work } from "../helpers/stage.ts";

const Order = z.object({ id: z.number().int(), items: z.array(z.string()).default([]) });

describe("a task with schemas", () => {
  test("has its arguments checked before they are sent, and made by the schema where it runs", async () => {
    const app = stage();
    const count = app.task(
      "app.count",
      { args: [Order, z.coerce.number().default(1)], returns: z.object({ total: z.number() }) },
      (order, factor = 1) => ({ total: order.items.length * factor, secret: "not for the caller" }),
    );
    work(app);
    const result = await count.delay({ id: 1, items: ["a", "b"] }, "3");
    expect(await result.get({ timeout: 5 })).toEqual({ total: 6 });
    expect(await (await count.delay({ id: 2 })).get({ timeout: 5 })).toEqual({ total: 0 });
    await expect(count.delay({ id: 1.5 })).rejects.toThrow(ValidationError);
    await expect(count.delay({ id: 1.5 })).rejects.toThrow(/^app\.count\(\): argument 0 must fit its schema: at id: /);
    await expect(app.sendTask("app.count", [{}])).rejects.toThrow("at id");
    // @ts-expect-error the compiler knows what the schema takes
    await expect(count.delay({ id: "1" })).rejects.toThrow(ValidationError);
    // @ts-expect-error too many
    expect(() => count.delay({ id: 1 }, 1, 1)).toThrow("takes 2 positional arguments but 3 were given");
    expectTypeOf(result.get).returns.resolves.toEqualTypeOf<{ total: number }>();
  });

  test("takes keyword arguments as well", async () => {
    const app = stage();
    const pay = app.task("app.pay", { args: [z.number(), z.enum(["EUR", "USD"])] }, (amount, currency) => {
      return `${amount} ${currency}`;
    });
    work(app);
    expect(await (await pay.applyAsync([], { kwargs: { currency: "EUR", amount: 5 } })).get({ timeout: 5 })).toBe(
      "5 EUR",
    );
    await expect(pay.applyAsync([5], { kwargs: { currency: "GBP" } })).rejects.toThrow("argument 1");
  });

  test("fails when what comes from elsewhere does not fit, or what it returns does not", async () => {
    const app = stage();
    const elsewhere = stage({
      broker: app.conf.settings.brokerUrl as never,
      backend: app.conf.settings.resultBackend as never,
    });
    let returned: unknown = 1;
    app.task(
      "app.strict",
      { bind: true, args: [z.string()], returns: z.number() },
      (_self, _text) => returned as number,
    );
    work(app);
    const call = async (args: unknown[]) => (await elsewhere.sendTask("app.strict", args)).get({ timeout: 5 });
    await expect(call([5])).rejects.toThrow("argument 0 must fit its schema");
    returned = "text";
    await expect(call(["x"])).rejects.toThrow("app.strict(): the result must fit its schema");
    returned = 7;
    expect(await call(["x"])).toBe(7);
  });

  test("takes schemas of any library, for each argument or for all, synchronous or not", async () => {
    const app = stage();
    const valibot = app.task("app.valibot", { args: v.tuple([v.string(), v.number()]) }, (text, times) =>
      text.repeat(times),
    );
    const arktype = app.task(
      "app.arktype",
      { args: [type({ name: "string" })], returns: type("string") },
      ({ name }) => name,
    );
    const slow = z.string().refine(async (text) => text !== "taken");
    const asynchronous = app.task("app.slow", { args: z.tuple([slow]) }, (name) => name);
    work(app);
    expect(await (await valibot.delay("ab", 2)).get({ timeout: 5 })).toBe("abab");
    await expect(valibot.delay("ab", "2" as never)).rejects.toThrow(
      "app.valibot(): arguments must fit its schema: at 1: ",
    );
    expect(await (await arktype.delay({ name: "x" })).get({ timeout: 5 })).toBe("x");
    await expect(arktype.delay({ name: 5 } as never)).rejects.toThrow("name must be a string");
    expect(await (await asynchronous.delay("free")).get({ timeout: 5 })).toBe("free");
    await expect(asynchronous.delay("taken")).rejects.toThrow(ValidationError);
    expectTypeOf(valibot.delay).parameters.toEqualTypeOf<[string, number]>();
    expectTypeOf(arktype.delay).parameters.toEqualTypeOf<[{ name: string }]>();
  });
});
