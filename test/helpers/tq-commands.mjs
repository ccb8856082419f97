// The command `tq`, many times in one process: one JSON list of arguments per line in, one JSON object per line out.
import { createInterface } from "node:readline";
import { main } from "../../dist/cli/main.js";

const write = process.stdout.write.bind(process.stdout);
for await (const line of createInterface({ input: process.stdin })) {
  let output = "";
  process.stdout.write = process.stderr.write = (text) => {
    output += text;
    return true;
  };
  const code = await main(JSON.parse(line), process.env);
  write(`${JSON.stringify({ code, output })}\n`);
}
process.exit();
