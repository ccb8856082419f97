/** The public face of tq: everything a user imports. */

export { Tq, type TqOptions } from "./app/app.ts";
export type { CallOptions } from "./app/call-options.ts";
export { AsyncResult, type GetOptions } from "./app/result.ts";
export { currentApp, sharedTask } from "./app/shared-task.ts";
export type { TaskDefinition, TaskHandle } from "./app/task-handle.ts";
export type { StaticMethodDecorator, TaskMaker } from "./app/task-maker.ts";
export * from "./errors.ts";
export type { Dispatcher } from "./events/dispatcher.ts";
export type { EventHandler, Receiver, ReceiverOptions } from "./events/receiver.ts";
export type { Event, ReceivedEvent } from "./protocol/event.ts";
export type { SignatureDict } from "./protocol/signature.ts";
export type { AnyState, TaskState } from "./protocol/states.ts";
export { EXCEPTION_STATES, PROPAGATE_STATES, READY_STATES, UNREADY_STATES } from "./protocol/states.ts";
export type { TaskMeta } from "./protocol/task-meta.ts";
export { DateTime, Decimal, PlainDate, PlainTime, Uuid } from "./serialization/values.ts";
export { BaseTask as Task, type RunnableTask } from "./task/base-task.ts";
export type { RetryOptions, TaskContext, TaskRequest } from "./task/context.ts";
export type { TaskHandlers } from "./task/handlers.ts";
export { Producer, type ProducerOptions } from "./task/producer.ts";
export type { ArgsSchema, Schema } from "./task/schema.ts";
export type { Signals } from "./task/signals.ts";
export { version } from "./version.ts";
export type { WorkerOptions } from "./worker/options.ts";
export { Worker } from "./worker/worker.ts";
