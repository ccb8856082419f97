import { connect, createServer } from "node:net";

/** A TCP port of the loopback interface that nobody listens on at this moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/**
 * Connects, sends `greeting`, and resolves with the first bytes of the answer; undefined when nobody
 * answers within `timeout` seconds. How a test knows that a server serves, and not merely listens.
 */
export function greet(port: number, greeting: string, timeout = 2): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const finish = (answer?: Buffer): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(timeout * 1000, finish);
    socket.once("error", () => finish());
    socket.once("close", () => finish());
    socket.once("connect", () => socket.write(greeting, "latin1"));
    socket.once("data", finish);
  });
}
