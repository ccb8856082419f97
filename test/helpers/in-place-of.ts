import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";

/** Has `listener` listen on a free port of this machine; the `url` of a server with that port in its place. */
export async function listenInPlaceOf(url: string, listener: Server): Promise<URL> {
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const proxied = new URL(url);
  proxied.hostname = "127.0.0.1";
  proxied.port = String((listener.address() as AddressInfo).port);
  return proxied;
}
