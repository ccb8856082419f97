import { app } from "./app.ts";
import { add, charge, flaky, mul, report, xsum } from "./tasks.ts";

/** Queues every task of this example and prints each result as it comes. */
export async function main(say: (line: string) => void): Promise<void> {
  const begun = performance.now();
  const show = (call: string, what: string): void => {
    const elapsed = ((performance.now() - begun) / 1000).toFixed(2);
    say(`   ${elapsed} s   ${call.padEnd(18)} ${what}`);
  };
  const calls = [
    add.delay(2, 3).then(async (result) => show("add(2, 3)", `= ${await result.get()}`)),
    mul.delay(6, 7).then(async (result) => show("mul(6, 7)", `= ${await result.get()}`)),
    xsum.delay([1, 2, 3, 4]).then(async (result) => show("xsum([1,2,3,4])", `= ${await result.get()}`)),
    charge.delay(99).then(async (result) => {
      try {
        await result.get();
      } catch (error) {
        show("charge(99)", `threw ${(error as Error).name}: ${(error as Error).message}`);
      }
    }),
    report.delay(4).then(async (result) => {
      const value = await result.get({
        onMessage: ({ status, result: progress }) => {
          const { current, total } = (progress ?? {}) as { current?: number; total?: number };
          if (status === "PROGRESS")
            show("report(4)", `${"#".repeat(current ?? 0).padEnd(total ?? 0, ".")}  ${current} of ${total}`);
        },
      });
      show("report(4)", `= ${value}`);
    }),
    flaky.delay().then(async (result) => {
      const value = await result.get({
        onMessage: ({ status }) => {
          if (status === "RETRY") show("flaky()", "failed, and will be tried again");
        },
      });
      show("flaky()", `= ${value}`);
    }),
  ];
  await Promise.all(calls);
  await app.close();
}
