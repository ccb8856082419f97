import { randomUUID } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import type { ResultBackend } from "../../src/backend/backend.ts";
import { defaultBackendOptions } from "../../src/backend/options.ts";
import { createRpcBackend } from "../../src/backend/rpc/backend.ts";
import type { TaskMeta } from "../../src/protocol/task-meta.ts";
import { backendContract, metaOf, recordOf } from "../contract/backend.ts";
import { startProxy } from "../fault/proxy.ts";
import { describeWith, freshVhost } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";

describeWith(["amqp", "vhost"], "RabbitMQ", () => {
  backendContract("rpc", async () => {
    const vhost = await freshVhost();
    return {
      capabilities: { persistent: false, groups: false, chords: false, expiry: false },
      async connect(overrides) {
        return createRpcBackend("rpc://", { ...defaultBackendOptions, brokerUrls: [vhost.url], ...overrides });
      },
      async dispose() {
        await vhost[Symbol.asyncDispose]();
      },
    };
  });
});

describeWith(["amqp", "vhost"], "The rpc result backend", () => {
  const open: { close(): Promise<unknown> }[] = [];
  afterEach(async () => {
    for (const one of open.splice(0).reverse()) await one.close();
  });
  const owned = <T extends AsyncDisposable>(resource: T): T => {
    open.push({ close: async () => resource[Symbol.asyncDispose]() });
    return resource;
  };
  const backendOn = (...brokerUrls: string[]): ResultBackend => {
    const backend = createRpcBackend("rpc://", { ...defaultBackendOptions, brokerUrls });
    open.push(backend);
    return backend;
  };
  const first = async (backend: ResultBackend, taskId: string): Promise<TaskMeta | undefined> => {
    for await (const meta of backend.watch([taskId], { signal: AbortSignal.timeout(15_000) })) return meta;
    return undefined;
  };

  test("gets results that were sent while its connection was lost", async () => {
    const vhost = owned(await freshVhost());
    const proxy = owned(await startProxy(vhost.url));
    const [reader, writer] = [backendOn(proxy.url), backendOn(vhost.url)];
    await reader.prepare();
    const meta = metaOf("sent in the gap");
    const found = first(reader, meta.task_id);
    proxy.cut();
    await until(() => proxy.connections === 0);
    await writer.store(recordOf(meta, reader));
    proxy.restore();
    expect(await found).toEqual(meta);
  });

  test("goes on over another of the broker's URLs when the first is gone", async () => {
    const vhost = owned(await freshVhost());
    const proxy = owned(await startProxy(vhost.url));
    const [reader, writer] = [backendOn(proxy.url, vhost.url), backendOn(vhost.url)];
    await reader.prepare();
    const meta = metaOf("by the other way");
    const found = first(reader, meta.task_id);
    proxy.cut();
    await writer.store(recordOf(meta, reader));
    expect(await found).toEqual(meta);
  });

  test("does not fail a task because nobody waits for its result", async () => {
    const backend = backendOn(owned(await freshVhost()).url);
    await backend.store({ ...recordOf(metaOf(1)), replyTo: randomUUID() });
    await backend.store({ ...recordOf(metaOf(1)), replyTo: null });
  });

  test("ends the wait for a result that cannot be read with a failure that says why", async () => {
    const vhost = owned(await freshVhost());
    const [reader, writer] = [backendOn(vhost.url), backendOn(vhost.url)];
    await reader.prepare();
    const meta = metaOf(1);
    await writer.store({
      ...recordOf(meta, reader),
      contentType: "application/x-python-serialize",
      body: "gA==",
      binary: true,
    });
    expect(await first(reader, meta.task_id)).toMatchObject({
      task_id: meta.task_id,
      status: "FAILURE",
      result: { exc_type: "ContentDisallowed" },
    });
  });

  test("never replaces a result by a state that came late", async () => {
    const vhost = owned(await freshVhost());
    const [reader, writer] = [backendOn(vhost.url), backendOn(vhost.url)];
    await reader.prepare();
    const meta = metaOf("done");
    await writer.store(recordOf(meta, reader));
    await writer.store(recordOf(metaOf(null, { task_id: meta.task_id, status: "STARTED" }), reader));
    const last = metaOf("last");
    await writer.store(recordOf(last, reader));
    await first(reader, last.task_id);
    expect(await reader.load(meta.task_id)).toEqual(meta);
  });

  test("says which broker cannot be reached, without the password", async () => {
    const backend = backendOn("amqp://guest:s3cret@127.0.0.1:1//");
    const failure = await backend.prepare().then(
      () => undefined,
      (error: Error) => error,
    );
    expect(failure).toMatchObject({ name: "BackendConnectionError" });
    expect(failure?.message).toMatch(/127\.0\.0\.1:1/);
    expect(failure?.message).not.toContain("s3cret");
  });
});
