import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Tq } from "tq";

/** A worker that tells a load balancer how it is: a service of one's own beside the worker's. */
export const app = new Tq("service");

app.task("service.add", (x: number, y: number) => x + y);

let server: Server | undefined;

app.services.add({
  name: "health",
  after: "pool", // answers when children are ready, and until they have finished
  async start(host) {
    server = createServer((request, response) => {
      if (request.method === "POST" && request.url === "/drain") {
        host.shutdown("warm");
        response.writeHead(202).end();
        return;
      }
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ hostname: host.hostname, ...host.counts() }));
    });
    const port = Number(process.env.HEALTH_PORT ?? 8000);
    await new Promise<void>((resolve, reject) => {
      server?.once("error", reject).listen(port, "127.0.0.1", resolve);
    });
    host.logger.info("health is told on port %d", (server.address() as AddressInfo).port);
  },
  async stop() {
    server?.closeAllConnections();
    await new Promise<void>((resolve) => {
      if (server) server.close(() => resolve());
      else resolve();
    });
  },
});
