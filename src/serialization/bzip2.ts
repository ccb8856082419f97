import type { Compressor } from "./compressor.ts";

/** What emscripten exposes of libbzip2. Views of the memory go stale when it grows: take them anew. */
interface Bzip2Memory {
  readonly HEAPU8: Uint8Array;
  _malloc(size: number): number;
  _free(pointer: number): void;
  setValue(pointer: number, value: number, type: "i32"): void;
  getValue(pointer: number, type: "i32"): number;
  _BZ2_bzBuffToBuffCompress(
    dest: number,
    destLength: number,
    source: number,
    length: number,
    block: number,
    verbosity: number,
    work: number,
  ): number;
  _BZ2_bzBuffToBuffDecompress(
    dest: number,
    destLength: number,
    source: number,
    length: number,
    small: number,
    verbosity: number,
  ): number;
}

const OUTPUT_FULL = -8;

/** libbzip2 as WebAssembly. */
export async function loadBzip2(): Promise<Compressor> {
  const memory = await start();
  return {
    compress: (bytes) => {
      // The library's own bound for data that cannot be compressed.
      const result = run(memory, bytes, bytes.length + Math.ceil(bytes.length / 100) + 600, (...at) =>
        memory._BZ2_bzBuffToBuffCompress(...at, 9, 0, 0),
      );
      if (typeof result === "number") throw new Error(`error ${result}`);
      return result;
    },
    decompress: (bytes, maxBytes) => {
      for (let room = Math.min(Math.max(bytes.length * 8, 65_536), maxBytes); ; room = Math.min(room * 4, maxBytes)) {
        const result = run(memory, bytes, room, (...at) => memory._BZ2_bzBuffToBuffDecompress(...at, 0, 0));
        if (typeof result !== "number") return result;
        if (result !== OUTPUT_FULL) throw new Error(`error ${result}`);
        if (room >= maxBytes) throw new RangeError("too large");
      }
    },
  };
}

async function start(): Promise<Memory> {
  // @ts-expect-error the package has no types
  const { default: BZip2 } = (await import("bzip2-wasm")) as {
    default: new () => { wasmModule: Memory; init(): Promise<void> };
  };
  const globals = globalThis as { __dirname?: unknown; require?: unknown };
  const before = { ...globals };
  const codec = new BZip2();
  await codec.init();
  // It leaves a `require` and a `__dirname` behind, by which other packages take this for CommonJS.
  for (const key of ["__dirname", "require"] as const) {
    if (before[key] === undefined) delete globals[key];
    else globals[key] = before[key];
  }
  return codec.wasmModule;
}

type Memory = Bzip2Memory;
type Call = (dest: number, destLength: number, source: number, length: number) => number;

/** The bytes written, or the library's error number. */
function run(memory: Memory, bytes: Uint8Array, room: number, call: Call): Uint8Array | number {
  const pointers: number[] = [];
  const allocate = (size: number): number => {
    const pointer = memory._malloc(Math.max(size, 1));
    if (pointer === 0) throw new Error(`no memory for ${size} bytes`);
    pointers.push(pointer);
    return pointer;
  };
  try {
    const [source, dest, length] = [allocate(bytes.length), allocate(room), allocate(4)] as const;
    memory.HEAPU8.set(bytes, source);
    memory.setValue(length, room, "i32");
    const code = call(dest, length, source, bytes.length);
    return code === 0 ? memory.HEAPU8.slice(dest, dest + memory.getValue(length, "i32")) : code;
  } finally {
    for (const pointer of pointers) memory._free(pointer);
  }
}
