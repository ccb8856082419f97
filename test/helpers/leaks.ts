import { afterAll } from "vitest";
import { watchLeaks } from "./leak-watch.ts";

// Set up for every test file, before its first import: when its last test and last hook are done,
// nothing it started may be left.
const watch = watchLeaks();

afterAll(async () => {
  const left = await watch.settle(10); // a busy machine closes slowly; what is not closed by then is a leak
  if (left.length > 0) throw new Error(`left behind by this test file: ${left.join(", ")}`);
});
