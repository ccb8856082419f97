/** `broker_*`: how messages are reached. */
import { bool, integer, name, nullable, number, oneOf, options, seconds, text } from "../parse.ts";
import { brokerUrls, failoverStrategy } from "../policies.ts";
import { notYet, setting } from "../setting.ts";
import { useSsl } from "../tls.ts";

export const brokerSettings = {
  brokerUrl: setting(nullable(brokerUrls), null, "Broker URL or failover list; null means the embedded store."),
  brokerReadUrl: setting(nullable(brokerUrls), null, "Where to consume, when not at brokerUrl."),
  brokerWriteUrl: setting(nullable(brokerUrls), null, "Where to publish, when not at brokerUrl."),
  brokerTransport: setting(nullable(name), null, "Transport of a broker given by brokerHost and not by URL."),
  brokerTransportOptions: setting(options, {}, "Options of the transport: visibility_timeout, global_keyprefix …"),
  brokerConnectionTimeout: setting(seconds, 4, "Seconds to wait for a connection."),
  brokerConnectionRetry: setting(bool, true, "Connect again when the connection is lost."),
  brokerConnectionRetryOnStartup: setting(
    nullable(bool),
    null,
    "Retry the first connection too; null means as brokerConnectionRetry.",
  ),
  brokerConnectionMaxRetries: setting(nullable(integer(0)), 100, "Attempts before giving up; null and 0 mean never."),
  brokerChannelErrorRetry: setting(bool, false, "Wait out what the broker refuses at the start, too."),
  brokerFailoverStrategy: setting(
    nullable(failoverStrategy),
    null,
    "Order in which failover URLs are tried: round-robin (null), shuffle, or a function of the URLs.",
  ),
  brokerHeartbeat: setting(nullable(number(0)), 120, "Seconds between AMQP heartbeats; null lets the server choose."),
  brokerHeartbeatCheckrate: notYet(number(0), 3, "Checks per heartbeat."),
  brokerLoginMethod: notYet(nullable(text), null, "AMQP login: PLAIN, AMQPLAIN or EXTERNAL."),
  brokerNativeDelayedDeliveryQueueType: notYet(
    oneOf("classic", "quorum"),
    "quorum",
    "Type of the queues that delay messages on RabbitMQ.",
  ),
  brokerPoolLimit: notYet(nullable(integer(0)), 10, "Most connections kept open for publishing."),
  brokerPoolAcquireTimeout: notYet(nullable(seconds), null, "Seconds to wait for a free connection."),
  brokerUseSsl: setting(useSsl, false, "Encrypt the connection: true, or certificates and checks."),
  brokerHost: setting(nullable(name), null, "Host of the broker, when there is no brokerUrl."),
  brokerPort: setting(nullable(integer(1, 65_535)), null, "Port of the broker, when there is no brokerUrl."),
  brokerUser: setting(nullable(text), null, "User name, when there is no brokerUrl."),
  brokerPassword: setting(nullable(text), null, "Password, when there is no brokerUrl."),
  brokerVhost: setting(nullable(text), null, "Virtual host or database, when there is no brokerUrl."),
};
