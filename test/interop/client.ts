import { type Composition, type PythonCall, type PythonOutcome, startPythonClient } from "../helpers/python-client.ts";

/** A call, in neither language: values are tagged (values.ts), options have Celery's names. */
export type Call = PythonCall;

/** How a call ended, as its caller sees it. */
export type Outcome = PythonOutcome;

/** Whoever queues work and waits for it: a real Celery client, or tq's. */
export interface Client extends AsyncDisposable {
  /** Resolves with the calls' ids, in order, once the broker has them. */
  send(...calls: Call[]): Promise<string[]>;
  /** Waits up to `timeout` seconds (10) for all these results. */
  outcomes(ids: readonly string[], timeout?: number): Promise<Outcome[]>;
  /** Calls composed on the canvas; resolves with the id whose outcome is that of the whole. */
  compose(spec: Composition): Promise<string>;
  state(id: string): Promise<string>;
  /** Waits like `outcomes`, and gives also each state seen on the way with its data. */
  watch(id: string): Promise<{ readonly outcome: Outcome; readonly states: readonly (readonly [string, unknown])[] }>;
}

/** What a client or worker needs to know of its surroundings. */
export interface Surroundings {
  readonly TQ_BROKER_URL: string;
  readonly TQ_RESULT_BACKEND: string;
  /** Further settings by Celery's names, as JSON. */
  readonly TQ_SETTINGS?: string;
}

export function pythonClient(surroundings: Surroundings): Promise<Client> {
  return startPythonClient({ ...surroundings });
}
