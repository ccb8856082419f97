import { randomUUID } from "node:crypto";
import type { Tq } from "../app/app.ts";
import type { OpenBackend } from "../backend/backend.ts";
import type { Broker, Delivery, Queue } from "../broker/broker.ts";
import { planSignature } from "../canvas/plan.ts";
import { sharesStore } from "../config/shared-store.ts";
import { BrokerConnectionError } from "../errors.ts";
import { Dispatcher } from "../events/dispatcher.ts";
import { inlineTask } from "../execution/executor.ts";
import { FollowUp } from "../execution/follow-up.ts";
import { Recorder } from "../execution/record.ts";
import type { RootLogger } from "../log.ts";
import type { Pool } from "../pool/pool.ts";
import { expandNodename } from "../protocol/nodename.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import { normalizeAccept } from "../serialization/registry.ts";
import type { Service } from "../util/service.ts";
import { type AutoscaleRule, Autoscaler } from "./autoscaler.ts";
import { Connection, type ConnectionUser } from "./connection.ts";
import { Consumer } from "./consumer.ts";
import { createControl } from "./control/create.ts";
import { MemorySamples } from "./control/memory-samples.ts";
import { Dispatch } from "./dispatch.ts";
import { Gossip } from "./gossip.ts";
import { canHandOver, HandOvers } from "./hand-over.ts";
import { Heartbeat } from "./heartbeat.ts";
import { Intake } from "./intake.ts";
import { Interrupted } from "./interrupted.ts";
import type { Ladder } from "./ladder.ts";
import type { Metrics } from "./metrics.ts";
import { MetricsServer, notReady } from "./metrics-server.ts";
import type { WorkerOptions } from "./options.ts";
import { enoughInHand, type PrefetchInput, prefetchCount, reducedPrefetch, waitingRoom } from "./prefetch.ts";
import { RateLimits } from "./rate-limits.ts";
import { ResultKeeper } from "./result-keeper.ts";
import { Revocation } from "./revocation.ts";
import { RevokeCatchUp } from "./revoke-catch-up.ts";
import { Revokes, revokeLimits } from "./revokes.ts";
import { Shelf } from "./shelf.ts";
import type { WorkerState } from "./state.ts";
import { StateFile } from "./state-file.ts";
import { allWatchers, TaskEvents } from "./task-events.ts";
import { TimeLimits } from "./time-limits.ts";

/** What every part of a worker may know of it. */
export interface WorkerContext {
  readonly app: Tq;
  readonly options: WorkerOptions;
  readonly hostname: string;
  readonly logger: RootLogger;
  readonly state: WorkerState;
  /** Its `cold` aborts when the worker goes down cold: what runs is given up, nothing is waited for any more. */
  readonly ladder: Pick<Ladder, "cold" | "phase" | "held">;
  /** Tells the worker to stop. */
  readonly shutdown: (how: "warm" | "cold", exitCode: number) => void;
}

/** What a worker is made of. */
export interface Assembly {
  /** Started in this order, stopped in reverse. */
  readonly services: readonly Service[];
  /** Begins what can go on beside the start of the others: children load the app while the broker is connected. */
  readonly prepare: () => void;
  readonly broker: Broker;
  readonly pool: Pool;
  readonly dispatch: Dispatch;
  readonly consumer: Consumer;
  readonly connection: Connection;
  /** What must not run. */
  readonly revokes: Revokes;
  /** Revokes and stops tasks: for the remote control. */
  readonly revocation: Revocation;
  /** For the remote control's `rate_limit`. */
  readonly rateLimits: RateLimits;
  /** What this node tells monitors and its neighbours. */
  readonly dispatcher: Dispatcher;
  /** What it knows of its neighbours; null when it does not listen. */
  readonly gossip: Gossip | null;
}

/** Seconds a cold shutdown gives results and acknowledgements already on their way. */
const coldPatience = 2;

/**
 * Puts a worker together: the only place that knows all its parts. The order of its services is
 * the order of the shutdown read backwards: the flow of messages stops first, the pool drains while
 * acknowledgements still go out, and the broker is let go last.
 */
export function assemble(
  context: WorkerContext,
  {
    broker,
    queues,
    pool,
    metrics = null,
    autoscale = null,
  }: {
    readonly broker: Broker;
    readonly queues: readonly Queue[];
    readonly pool: Pool;
    /** Counts for Prometheus; left out, nobody counts. */
    readonly metrics?: Metrics | null;
    /** Decides how wide an autoscaled pool is; null for the built-in rule. */
    readonly autoscale?: AutoscaleRule | null;
  },
): Assembly {
  const { app, options, hostname, logger, state, ladder } = context;
  const { cold } = ladder;
  const { settings } = app.conf;
  const shared = app.share(broker);
  const accept = normalizeAccept(settings.acceptContent);
  const backend: OpenBackend = (url) => app.backend(url);
  const storeOf = (task: string): string | null => app.tasks.storeOf(task);
  const results = new ResultKeeper(backend, logger);
  const recorder = new Recorder({ settings, backend, storeOf });
  const followUp = new FollowUp(
    { settings, backend, sender: app.sender, logger, inlineErrback: ({ task }) => inlineTask(app.tasks, task) },
    recorder,
  );
  const interrupted = new Interrupted({
    accept,
    resultSerializer: settings.resultSerializer,
    results,
    storeOf,
    followUp,
    signals: app.signals,
    hostname,
    logger,
  });
  const onSettleError = (error: unknown): void => {
    // The message is still the broker's: it comes again, to this worker or another.
    if (error instanceof BrokerConnectionError) logger.debug("a message could not be settled: %s", error.message);
    else if (!cold.aborted) logger.error({ err: error }, "a message could not be settled");
  };
  const dispatcher = new Dispatcher({
    broker: () => broker,
    clock: app.clock,
    hostname,
    exchange: settings.eventExchange,
    serializer: settings.eventSerializer,
    groups: (options.taskEvents ?? settings.workerSendTaskEvents) ? "all" : ["worker"],
    onError: (error) => logger.error({ err: error }, "events could not be sent"),
  });
  const events = allWatchers([new TaskEvents(dispatcher), ...(metrics === null ? [] : [metrics.tasks])]);
  const heartbeat = options.withoutHeartbeat
    ? null
    : new Heartbeat({
        dispatcher,
        state,
        interval: options.heartbeatInterval ?? 2,
        onSent: () => void app.signals.send("heartbeatSent", { hostname }),
      });
  const disablesPrefetch = options.disablePrefetch ?? settings.workerDisablePrefetch;
  const prefetch = (): PrefetchInput => ({
    // Autoscaled, as many as the largest pool has: it grows by what it sees waiting.
    slots: autoscaler ? autoscaler.max * slotsOf(pool, options) : slotsIn(pool, options),
    multiplier: options.prefetchMultiplier ?? settings.workerPrefetchMultiplier,
    disabled: disablesPrefetch,
  });
  const revokes = new Revokes(revokeLimits(process.env));
  const revocation = new Revocation({
    revokes,
    state,
    pool,
    interrupted,
    logger,
    signals: app.signals,
    events,
    onSettleError,
  });
  const shelf = new Shelf({
    broker,
    knows: (name) => app.tasks.get(name) !== undefined,
    queues: () => queues.map(({ name }) => name),
    logger,
  });
  const dispatch = new Dispatch({
    pool,
    state,
    hostname,
    limits: new TimeLimits({
      changed: state.timeLimits,
      flags: { hard: options.timeLimit ?? null, soft: options.softTimeLimit ?? null },
      settings: { hard: settings.taskTimeLimit, soft: settings.taskSoftTimeLimit },
    }),
    results,
    handOvers: canHandOver(broker) && sharesStore(settings) ? new HandOvers({ broker, backend, cold }) : null,
    interrupted,
    events,
    logger,
    revocation,
    rules: { unknownTasks: settings.workerUnknownTasks, maxCrashes: settings.workerMaxCrashes },
    onOccupied: disablesPrefetch ? () => consumer.occupy() : null,
    onEnded({ policy, phase }) {
      consumer.taskEnded();
      if (disablesPrefetch && !policy.acksLate && phase.name === "active") consumer.vacate();
    },
    onShelved: ({ id }) => shelf.disown(id),
    onSettleError,
  });
  revokes.onAdded(() => dispatch.reconsider());
  const rateLimits = new RateLimits({
    registry: app.tasks,
    disabled: settings.workerDisableRateLimits,
    state,
    mostHeld: () => waitingRoom(prefetch()),
    proceed: (request) => dispatch.reserve(request),
    onSettleError,
  });
  const intake = new Intake({
    registry: app.tasks,
    unknownTasks: settings.workerUnknownTasks,
    accept,
    logger,
    signals: app.signals,
    state,
    interrupted,
    revocation,
    events,
    mostHeld: () => Math.min(waitingRoom(prefetch()), settings.workerEtaTaskLimit ?? Number.POSITIVE_INFINITY),
    reserve: (request) => {
      if (ladder.phase === "running") {
        rateLimits.admit(request);
        autoscaler?.look();
      } else void giveBack([request.delivery]);
    },
    onSettleError,
  });
  const consumer: Consumer = new Consumer({
    broker,
    hostname,
    queues,
    prefetch: () => prefetchCount(prefetch()),
    enough: () => enoughInHand(prefetch()),
    reduced(max) {
      const { multiplier, disabled } = prefetch();
      if (!settings.workerEnablePrefetchCountReduction || disabled || max === 0) return null;
      const active = state.active.size;
      return { count: reducedPrefetch(max, active, multiplier), active, step: Math.max(1, multiplier) };
    },
    onDelivery: (delivery) => intake.take(delivery),
    onLost: (error) => {
      rateLimits.dropLost();
      dispatch.dropLost();
      if (settings.workerCancelLongRunningTasksOnConnectionLoss) dispatch.cancelLost();
      connection.lost(error);
    },
    logger,
  });
  const autoscaler =
    options.autoscale === undefined
      ? null
      : new Autoscaler({
          ...options.autoscale,
          pool,
          slots: options.async ?? 1,
          ...(autoscale === null ? {} : { decide: autoscale }),
          keepalive: Number(process.env.TQ_AUTOSCALE_KEEPALIVE ?? process.env.AUTOSCALE_KEEPALIVE ?? 30),
          load: () => state.reserved.size + state.active.size,
          onGrown: () => dispatch.poolGrown(),
          onMax: () => consumer.adjustPrefetch(),
          logger,
        });
  const giveBack = (deliveries: readonly Delivery[]): Promise<void> =>
    consumer
      .giveBack(deliveries)
      .catch((error: unknown) => logger.debug("messages go back by themselves: %s", String(error)));
  const gossip =
    options.withoutGossip || !gossipTransports.has(broker.transport)
      ? null
      : new Gossip({
          broker,
          settings,
          clock: app.clock,
          hostname,
          dispatcher,
          logger,
          handlers: { task: (action) => callSignature(app, action) },
        });
  const control = createControl({
    broker,
    options,
    onNeighbour: (node) => gossip?.meet(node),
    panel: {
      app,
      broker,
      options,
      hostname,
      logger,
      state,
      pool,
      consumer,
      revokes,
      revocation,
      accept,
      events: dispatcher,
      memory: new MemorySamples(),
      shutdown: () => context.shutdown("warm", 0),
      autoscaler,
      onResized: () => {
        consumer.adjustPrefetch();
        dispatch.poolGrown();
      },
      rateLimits,
      elect: gossip === null ? null : (id, topic, action) => gossip.election(id, topic, action),
    },
  });
  /** Subscribe anew after each connect, in this order. */
  const users: ConnectionUser[] = [
    {
      async subscribe() {
        dispatcher.resume();
        heartbeat?.online();
      },
    },
    new RevokeCatchUp(broker, revokes, logger),
    consumer,
    ...control.users,
    ...(gossip === null ? [] : [gossip]),
  ];
  const connection: Connection = new Connection({
    broker,
    logger,
    users,
    retry: settings.brokerConnectionRetry,
    channelErrorRetry: settings.brokerChannelErrorRetry,
    retryOnStartup: settings.brokerConnectionRetryOnStartup ?? settings.brokerConnectionRetry,
    maxRetries: app.conf.isSet("brokerConnectionMaxRetries") ? settings.brokerConnectionMaxRetries : null,
    onFatal: (error) => {
      logger.fatal("%s", error.message);
      context.shutdown("warm", 1);
    },
  });
  // Before the pool hears of it: its deaths are no failures of tasks then.
  cold.addEventListener("abort", () => dispatch.goCold(), { once: true });
  const draining = new PoolService(pool, dispatch);
  const statedb = options.statedb ?? settings.workerStateDb;
  const health = {
    live: () => ladder.phase !== "now",
    ready: () => notReady({ connected: connection.up, consuming: consumer.consuming, phase: ladder.phase }),
  };
  const watch =
    metrics === null
      ? []
      : [
          new MetricsServer({
            port: options.metricsPort ?? 0,
            host: options.metricsHost ?? "127.0.0.1",
            health,
            metrics: metrics.text({ broker, connection, pool, state, queues: () => queues }),
            logger,
          }),
        ];
  const services: Service[] = [
    ...watch,
    ...(statedb === null
      ? []
      : [new StateFile({ path: expandNodename(statedb, { nodename: hostname, pid: process.pid }), revokes, logger })]),
    {
      name: "connection",
      start: () => connection.start(),
      async stop() {
        await consumer
          .close()
          .catch((error: unknown) => logger.debug("messages go back by themselves: %s", String(error)));
        shared[Symbol.dispose]();
        await connection.stop();
      },
    },
    { name: "events", async start() {}, stop: (cold) => Promise.race([dispatcher.flush(), patience(cold)]) },
    ...(heartbeat === null ? [] : [heartbeat]),
    ...control.services,
    ...(gossip === null ? [] : [gossip]),
    {
      name: "soft shutdown",
      async start() {},
      stop: () => ladder.held(),
    },
    draining,
    shelf,
    {
      name: "consumer",
      async start() {}, // flows since the connection is up
      async stop() {
        consumer.pause();
        // What has not begun is for others now; what runs may take as long as it likes.
        const scheduled = [...state.scheduled];
        intake.stop();
        const waiting = [...rateLimits.stop(), ...dispatch.stop(), ...scheduled].map(({ delivery }) => delivery);
        await giveBack(waiting);
      },
    },
    ...(autoscaler === null ? [] : [autoscaler]),
  ];
  return {
    services,
    prepare: () => draining.prepare(),
    broker,
    pool,
    dispatch,
    consumer,
    connection,
    revokes,
    revocation,
    rateLimits,
    dispatcher,
    gossip,
  };
}

/** What the window is counted in: tasks that run at once or, with `-O fast`, all that are in the hands of children. */
const slotsIn = (pool: Pool, options: WorkerOptions): number =>
  options.optimization === "fast" ? pool.size : pool.slots;

/** The same, of one child. */
const slotsOf = (pool: Pool, options: WorkerOptions): number =>
  pool.width > 0 ? slotsIn(pool, options) / pool.width : (options.async ?? 1);

/** Where nodes listen to each other, as in Celery: one process rarely has neighbours in a file. */
const gossipTransports: ReadonlySet<string> = new Set(["amqp", "redis"]);

/** What the winner of an election about a task does. */
async function callSignature(app: Tq, action: unknown): Promise<void> {
  await app.sender.sendPlan(planSignature(action as SignatureDict, { newId: randomUUID }));
}

/** Drains while the subscription can still be acknowledged; ends when every result is kept and every message settled. */
class PoolService implements Service {
  readonly name = "pool";
  readonly #pool: Pool;
  readonly #dispatch: Dispatch;
  #starting: Promise<void> | undefined;

  constructor(pool: Pool, dispatch: Dispatch) {
    this.#pool = pool;
    this.#dispatch = dispatch;
  }

  prepare(): void {
    this.#starting = this.#pool.start();
    this.#starting.catch(() => undefined); // awaited by start; meanwhile it must not count as unhandled
  }

  async start(): Promise<void> {
    if (this.#starting === undefined) this.prepare();
    await this.#starting;
  }

  async stop(cold: AbortSignal): Promise<void> {
    await this.#pool.stop(cold);
    await Promise.race([this.#dispatch.settled(), patience(cold)]);
  }
}

/** Never ends while the shutdown is warm; soon after it has become cold. */
function patience(cold: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const soon = (): void => void setTimeout(resolve, coldPatience * 1000).unref();
    if (cold.aborted) soon();
    else cold.addEventListener("abort", soon, { once: true });
  });
}
