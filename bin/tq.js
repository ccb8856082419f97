#!/usr/bin/env node
import { main } from "../dist/cli/main.js";

const exitCode = await main(process.argv.slice(2));
// A project may keep connections and timers open; what was printed is waited for, they are not.
process.stdout.write("", () => process.exit(exitCode));
