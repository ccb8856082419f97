/** `redis_*`: the Redis result store, where its URL does not say. */
import { anything, bool, integer, name, nullable, seconds, text } from "../parse.ts";
import { notYet, setting } from "../setting.ts";
import { useSsl } from "../tls.ts";

export const redisSettings = {
  redisBackendUseSsl: setting(useSsl, null, "Encrypt the connection: true, or certificates and checks."),
  redisDb: setting(nullable(integer(0)), null, "Database."),
  redisHost: setting(nullable(name), null, "Host."),
  redisMaxConnections: notYet(nullable(integer(1)), null, "Most connections."),
  redisUsername: setting(nullable(text), null, "User name."),
  redisPassword: setting(nullable(text), null, "Password."),
  redisPort: setting(nullable(integer(1, 65_535)), null, "Port."),
  redisSocketTimeout: setting(nullable(seconds), 120, "Seconds to wait for an answer."),
  redisSocketConnectTimeout: setting(nullable(seconds), null, "Seconds to wait for a connection."),
  redisRetryOnTimeout: notYet(bool, false, "Ask again after a time-out."),
  redisSocketKeepalive: setting(bool, false, "Keep idle connections open by TCP."),
  redisBackendHealthCheckInterval: notYet(nullable(seconds), null, "Seconds between pings of an idle connection."),
  redisBackendCredentialProvider: notYet(nullable(anything), null, "Gives user name and password when connecting."),
  redisClientName: setting(nullable(name), null, "Name the connection shows in Redis."),
};
