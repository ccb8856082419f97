/** The public face of tq: everything a user imports. */

export { Tq, type TqOptions } from "./app/app.ts";
export type { CallOptions } from "./app/call-options.ts";
export { Chord, Chunks, chain, chord, Group, group } from "./app/canvas.ts";
export type { AnySignature, Anything, ArgsOf, ResultOf } from "./app/canvas-types.ts";
export { AsyncResult } from "./app/result.ts";
export type { GetOptions, LookUpOptions, ResultHandle, RevokeOptions, StoredResult } from "./app/result-handle.ts";
export { GroupResult, ResultSet } from "./app/result-set.ts";
export { DependencyGraph } from "./app/result-tree.ts";
export type { ServiceHost, WorkerService } from "./app/services.ts";
export { currentApp, sharedTask } from "./app/shared-task.ts";
export { Signature, type SignatureOptions } from "./app/signature.ts";
export type { TaskDefinition, TaskHandle } from "./app/task-handle.ts";
export type { StaticMethodDecorator, TaskMaker } from "./app/task-maker.ts";
export { allowJoinResult, deniedJoinResult } from "./app/waiting.ts";
export { Crontab, type CrontabFields, crontab } from "./beat/crontab.ts";
export { Beat } from "./beat/embedded.ts";
export { Interval } from "./beat/interval.ts";
export type { StampingVisitor, Stamps } from "./canvas/stamp.ts";
export type { FailoverOrder } from "./config/policies.ts";
export type { BroadcastOptions } from "./control/broadcast-options.ts";
export type { ControlPanel } from "./control/command.ts";
export type { Control } from "./control/control.ts";
export type { Inspect, InspectOptions } from "./control/inspect.ts";
export type * from "./control/replies.ts";
export * from "./errors.ts";
export type { Dispatcher } from "./events/dispatcher.ts";
export type { EventHandler, Receiver, ReceiverOptions } from "./events/receiver.ts";
export { Polaroid, type PolaroidOptions } from "./events/snapshot.ts";
export { State, type StateOptions } from "./events/state.ts";
export type { TaskView } from "./events/task-view.ts";
export type { WorkerView } from "./events/worker-view.ts";
export type { PoolContext, PoolMaker } from "./pool/custom.ts";
export type { MemberReport, Pool, PoolResult, Runner } from "./pool/pool.ts";
export type { Event, ReceivedEvent } from "./protocol/event.ts";
export type { SignatureDict, SignatureLike } from "./protocol/signature.ts";
export type { AnyState, TaskState } from "./protocol/states.ts";
export {
  ALL_STATES,
  EXCEPTION_STATES,
  PROPAGATE_STATES,
  precedence,
  READY_STATES,
  UNREADY_STATES,
} from "./protocol/states.ts";
export type { TaskMeta } from "./protocol/task-meta.ts";
export { type CustomCompression, registerCompression } from "./serialization/compression.ts";
export { registerType } from "./serialization/json.ts";
export { type CustomSerializer, registerSerializer } from "./serialization/registry.ts";
export { DateTime, Decimal, PlainDate, PlainTime, Uuid } from "./serialization/values.ts";
export { BaseTask as Task, type RunnableTask } from "./task/base-task.ts";
export type { RequestChanges, RetryOptions, TaskContext, TaskRequest } from "./task/context.ts";
export { currentTask, currentWorkerTask } from "./task/current.ts";
export type { TaskHandlers } from "./task/handlers.ts";
export { Producer, type ProducerOptions } from "./task/producer.ts";
export type { PeriodicTask, Schedule } from "./task/schedule.ts";
export type { ArgsSchema, Schema } from "./task/schema.ts";
export type { ConnectOptions, SignalMap, Signals } from "./task/signals.ts";
export { getTaskLogger } from "./task/task-logger.ts";
export { version } from "./version.ts";
export type { AutoscaleFacts, AutoscaleRule } from "./worker/autoscaler.ts";
export { Worker } from "./worker/embedded.ts";
export type { WorkerOptions } from "./worker/options.ts";
