import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type AddressInfo, connect as connectTcp, type Socket } from "node:net";
import { createServer } from "node:tls";
import { afterEach, expect, test } from "vitest";
import { createAmqpBroker } from "../../src/broker/amqp/broker.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { type BrokerOptions, defaultBrokerOptions } from "../../src/broker/options.ts";
import { messageOf, queueOf } from "../contract/broker.ts";
import { describeWith, freshVhost } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

/** An encrypted way to RabbitMQ, with a certificate for `localhost` that nobody has signed. */
async function encrypted(): Promise<{ url: string; ca: string }> {
  const vhost = await freshVhost();
  const folder = await temporaryFolder("tq-tls-");
  open.push({ close: async () => vhost[Symbol.asyncDispose]() }, { close: async () => folder[Symbol.asyncDispose]() });
  const [key, cert] = [folder.file("key.pem"), folder.file("cert.pem")];
  const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
  const name = ["-addext", "subjectAltName=DNS:localhost"];
  execFileSync("openssl", [...request, ...name, "-keyout", key, "-out", cert], { stdio: "ignore" });
  const target = new URL(vhost.url);
  const sockets: Socket[] = [];
  const server = createServer({ key: await readFile(key), cert: await readFile(cert) }, (client) => {
    const upstream = connectTcp(Number(target.port), target.hostname);
    sockets.push(client, upstream);
    client.on("error", () => undefined).on("close", () => upstream.destroy());
    upstream.on("error", () => undefined).on("close", () => client.destroy());
    client.pipe(upstream);
    upstream.pipe(client);
  });
  server.on("tlsClientError", () => undefined);
  await once(server.listen(0, "127.0.0.1"), "listening");
  open.push({
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  });
  const { port } = server.address() as AddressInfo;
  return { url: `amqps://guest:guest@localhost:${port}${target.pathname}`, ca: cert };
}

const brokerOn = (url: string, options: Partial<BrokerOptions> = {}): Broker => {
  const broker = createAmqpBroker(url, { ...defaultBrokerOptions, ...options });
  open.push(broker);
  return broker;
};

describeWith(["amqp", "vhost"], "RabbitMQ over TLS", () => {
  test("is reached when its certificate is trusted, by the URL or by useSsl", async () => {
    const { url, ca } = await encrypted();
    const plain = url.replace("amqps:", "amqp:");
    const ways = [
      brokerOn(`${url}?ssl_ca_certs=${encodeURIComponent(ca)}`),
      brokerOn(plain, { useSsl: { ca_certs: ca } }),
      brokerOn(`${url}?ssl_cert_reqs=none`),
    ];
    for (const broker of ways) {
      await broker.connect();
      await broker.declare(queueOf("q"));
      await broker.publish(messageOf("x"), { exchange: "", routingKey: "q" });
    }
    expect(await ways[0]?.size("q")).toBe(3);
  });

  test("is refused when its certificate is not trusted, or is for another host", async () => {
    const { url, ca } = await encrypted();
    await expect(brokerOn(url).connect()).rejects.toThrow(/self-signed certificate/);
    const elsewhere = `${url.replace("localhost", "127.0.0.1")}?ssl_ca_certs=${encodeURIComponent(ca)}`;
    await expect(brokerOn(elsewhere).connect()).rejects.toThrow(/127\.0\.0\.1/);
    await brokerOn(`${elsewhere}&ssl_check_hostname=false`).connect();
  });
});
