/** `tq/testing`: help for the tests of applications that use tq. */

export { type MatcherResult, tqMatchers } from "./testing/matchers.ts";
export { type RecordedCall, RecordedCalls, recordCalls } from "./testing/recorded-calls.ts";
export { eagerApp, inMemory, testApp } from "./testing/test-app.ts";
export { startTestWorker, TestWorker, type TestWorkerOptions } from "./testing/test-worker.ts";
export { travel } from "./testing/travel.ts";
