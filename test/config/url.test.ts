import { describe, expect, test } from "vitest";
import { readTlsOptions, verifiedTls } from "../../src/config/tls.ts";
import {
  type BackendUrl,
  type BrokerUrl,
  maskUrl,
  parseBackendUrl,
  parseBrokerUrl,
  splitUrls,
} from "../../src/config/url.ts";
import { ImproperlyConfigured } from "../../src/errors.ts";

const tcp = {
  transport: "redis",
  kind: "tcp",
  host: "127.0.0.1",
  port: 6379,
  username: null,
  password: null,
  db: 0,
  tls: null,
  query: {},
} as const;

const amqp = {
  transport: "amqp",
  host: "localhost",
  port: 5672,
  username: "guest",
  password: "guest",
  vhost: "/",
  tls: null,
  query: {},
} as const;

const brokers: readonly (readonly [url: string, expected: BrokerUrl])[] = [
  ["redis://", tcp],
  ["redis://localhost", { ...tcp, host: "localhost" }],
  ["redis://cache.example.com:6380/3", { ...tcp, host: "cache.example.com", port: 6380, db: 3 }],
  ["redis://localhost:/", { ...tcp, host: "localhost" }],
  ["redis://:secret@localhost/1", { ...tcp, host: "localhost", password: "secret", db: 1 }],
  ["redis://me:p%40ss%2Fw%C3%B6rd@h/0", { ...tcp, host: "h", username: "me", password: "p@ss/wörd" }],
  ["redis://:a@b#c@h", { ...tcp, host: "h", password: "a@b#c" }],
  ["redis://[::1]:6390/2", { ...tcp, host: "::1", port: 6390, db: 2 }],
  ["redis://h?socket_timeout=5&db=4", { ...tcp, host: "h", db: 4, query: { socket_timeout: "5" } }],
  ["REDIS://h", { ...tcp, host: "h" }],
  ["rediss://h:6390", { ...tcp, host: "h", port: 6390, tls: verifiedTls }],
  [
    "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/etc/ca.pem",
    { ...tcp, host: "h", tls: { ...verifiedTls, rejectUnauthorized: false, checkHostname: false, ca: "/etc/ca.pem" } },
  ],
  [
    "rediss://h?ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=false&ssl_certfile=c&ssl_keyfile=k",
    { ...tcp, host: "h", tls: { ...verifiedTls, checkHostname: false, cert: "c", key: "k" } },
  ],
  [
    "redis+socket:///run/redis.sock?virtual_host=2",
    {
      transport: "redis",
      kind: "socket",
      path: "/run/redis.sock",
      username: null,
      password: null,
      db: 2,
      tls: null,
      query: {},
    },
  ],
  [
    "unix://me:pw@/run/redis.sock?db=1",
    {
      transport: "redis",
      kind: "socket",
      path: "/run/redis.sock",
      username: "me",
      password: "pw",
      db: 1,
      tls: null,
      query: {},
    },
  ],
  [
    "sentinel://:pw@h1:26379;sentinel://h2:26380/3?master_name=cluster1",
    {
      transport: "redis",
      kind: "sentinel",
      sentinels: [
        { host: "h1", port: 26_379 },
        { host: "h2", port: 26_380 },
      ],
      masterName: "cluster1",
      username: null,
      password: "pw",
      db: 3,
      tls: null,
      query: {},
    },
  ],
  ["amqp://", amqp],
  ["pyamqp://guest:guest@rabbit//", { ...amqp, host: "rabbit" }],
  ["amqp://rabbit/%2F", { ...amqp, host: "rabbit" }],
  [
    "amqp://me:pw@rabbit:5673/my%2Fvhost",
    { ...amqp, host: "rabbit", port: 5673, username: "me", password: "pw", vhost: "my/vhost" },
  ],
  [
    "amqps://rabbit/v?heartbeat=30",
    { ...amqp, host: "rabbit", port: 5671, vhost: "v", tls: verifiedTls, query: { heartbeat: "30" } },
  ],
  ["sqlite://", { transport: "sqlite", path: "./.tq/tq.db" }],
  ["sqlite://./data/queue.db", { transport: "sqlite", path: "./data/queue.db" }],
  ["sqlite:///var/lib/tq/a%20b.db", { transport: "sqlite", path: "/var/lib/tq/a b.db" }],
  ["memory://", { transport: "memory", name: "" }],
  ["memory://shared", { transport: "memory", name: "shared" }],
];

describe("a broker's URL", () => {
  test.each(brokers)("%s is understood", (url, expected) => {
    expect(parseBrokerUrl(url)).toEqual(expected);
  });

  test.each([
    ["sqs://x", "there is no broker for sqs://"],
    ["reddis://x", "Did you mean redis://?"],
    ["localhost:6379", "must begin with its scheme"],
    ["", "must begin with its scheme"],
    ["redis://h/zero", "must be a number"],
    ["redis://h:port/0", "a port is a number"],
    ["redis://h:70000/0", "a port is a number"],
    ["redis://:50%@h", "write a percent sign itself as %25"],
    ["redis+socket://", "names no socket"],
    ["rediss://h?ssl_cert_reqs=perhaps", "ssl_cert_reqs"],
    ["rpc://", "there is no broker for rpc://"],
  ])("%s is refused with a way out", (url, hint) => {
    expect(() => parseBrokerUrl(url)).toThrow(ImproperlyConfigured);
    expect(() => parseBrokerUrl(url)).toThrow(hint);
  });

  test("no error shows a password", () => {
    for (const url of [
      "sqs://me:s3cret@x",
      "redis://:s3cret/x@h",
      "redis://:s3cret@h/zero",
      "redis://:s3cret%@h",
      "me:s3cret@h",
      "rediss://:s3cret@h?ssl_cert_reqs=x",
      "redis+socket://?password=s3cret",
    ]) {
      let message = "";
      try {
        parseBrokerUrl(url);
      } catch (error) {
        message = (error as Error).message;
      }
      expect(message).not.toBe("");
      expect(message).not.toContain("s3cret");
    }
  });
});

const backends: readonly (readonly [url: string, expected: BackendUrl])[] = [
  ["redis://h/1", { ...tcp, host: "h", db: 1 }],
  ["redis", tcp],
  ["rpc://", { transport: "rpc" }],
  ["rpc", { transport: "rpc" }],
  ["disabled", { transport: "disabled" }],
  ["disabled://", { transport: "disabled" }],
  ["cache+memory://", { transport: "memory", name: "" }],
  ["memory://shared", { transport: "memory", name: "shared" }],
  ["sqlite://x.db", { transport: "sqlite", path: "x.db" }],
];

describe("a result store's URL", () => {
  test.each(backends)("%s is understood", (url, expected) => {
    expect(parseBackendUrl(url)).toEqual(expected);
  });

  test("what it leaves out comes from the redis settings", () => {
    const defaults = { host: "cache", port: 6400, db: 5, username: "me", password: "pw" };
    expect(parseBackendUrl("redis://", defaults)).toEqual({ ...tcp, ...defaults });
    expect(parseBackendUrl("redis://you:pw2@h:1/2", defaults)).toEqual({
      ...tcp,
      host: "h",
      port: 1,
      db: 2,
      username: "you",
      password: "pw2",
    });
  });

  test("ssl parameters without encryption are refused, as Celery does", () => {
    expect(() => parseBackendUrl("redis://h?ssl_cert_reqs=none")).toThrow("write rediss:// instead of redis://");
  });

  test("an unknown one is refused naming those there are", () => {
    expect(() => parseBackendUrl("db+postgresql://me:pw@h/x")).toThrow(
      /^there is no result backend for db\+postgresql:\/\/ in db\+postgresql:\/\/me:\*\*@h\/x\..*rpc:\/\//,
    );
  });
});

describe("a failover list", () => {
  test("is an array, or one text with semicolons, or both", () => {
    expect(splitUrls("redis://a; redis://b;")).toEqual(["redis://a", "redis://b"]);
    expect(splitUrls(["redis://a;redis://b", "amqp://c"])).toEqual(["redis://a", "redis://b", "amqp://c"]);
    expect(splitUrls("")).toEqual([]);
  });

  test("keeps sentinels side by side together", () => {
    expect(splitUrls("sentinel://a:1;sentinel://b:2;c:3/0;redis://d")).toEqual([
      "sentinel://a:1;sentinel://b:2;c:3/0",
      "redis://d",
    ]);
  });
});

describe("a masked URL", () => {
  test.each([
    ["redis://:secret@localhost:6379/0", "redis://:**@localhost:6379/0"],
    ["amqp://me:secret@h//", "amqp://me:**@h//"],
    ["redis://localhost:6379/0", "redis://localhost:6379/0"],
    ["redis://me@h", "redis://me@h"],
    ["redis://:se@cr/et?@h", "redis://:**@h"],
    ["sentinel://:a@h1:1;sentinel://:b@h2:2/0", "sentinel://:**@h1:1;sentinel://:**@h2:2/0"],
    ["redis://:a@h1;redis://:b@h2", "redis://:**@h1;redis://:**@h2"],
    ["unix:///run/r.sock?password=secret&db=1", "unix:///run/r.sock?password=**&db=1"],
    ["rediss://h?ssl_password=secret", "rediss://h?ssl_password=**"],
    ["sqlite:///home/a:b@c/tq.db", "sqlite:///home/a:b@c/tq.db"],
    ["not a url", "not a url"],
    ["", ""],
  ])("%s is shown as %s", (url, shown) => {
    expect(maskUrl(url)).toBe(shown);
  });

  test("keeps no part of a password, whatever characters it has", () => {
    for (const odd of ["/", "?", "#", "@", ";", ",", ":", "%", "&", "=", " ", "//"]) {
      const shown = maskUrl(`redis://me:left${odd}right@host:6379/0`);
      expect(shown).not.toContain("left");
      expect(shown).not.toContain("right");
      expect(shown.endsWith("@host:6379/0")).toBe(true);
    }
  });
});

describe("TLS options", () => {
  test("are read in the spellings of redis-py, Python and Node", () => {
    const expected = { ...verifiedTls, rejectUnauthorized: false, checkHostname: false, ca: "ca", cert: "c", key: "k" };
    expect(
      readTlsOptions({ ssl_cert_reqs: "CERT_NONE", ssl_ca_certs: "ca", ssl_certfile: "c", ssl_keyfile: "k" }, "x"),
    ).toEqual(expected);
    expect(readTlsOptions({ cert_reqs: 0, ca_certs: "ca", certfile: "c", keyfile: "k" }, "x")).toEqual(expected);
    expect(readTlsOptions({ rejectUnauthorized: false, ca: "ca", cert: "c", key: "k" }, "x")).toEqual(expected);
  });

  test("read once stay what they are when read again", () => {
    const once = readTlsOptions({ sslCertReqs: "none", caCerts: "ca" }, "x");
    expect(readTlsOptions({ ...once }, "x")).toEqual(once);
  });
});
