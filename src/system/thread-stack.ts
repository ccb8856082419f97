import { type NodeWorker, Session } from "node:inspector";
import { decodeEvaluation, encodeEvaluation } from "./evaluation.ts";
import { runningStack } from "./running-stack.ts";

/**
 * The JavaScript a thread of this process is in the midst of, as `runningStack` has it; null when it is in
 * none, or has not told before `signal` aborts. Opens no port.
 */
export async function threadStack(threadId: number, signal: AbortSignal): Promise<readonly string[] | null> {
  const session = new Session();
  session.connect();
  try {
    return await new Promise((resolve) => {
      signal.addEventListener("abort", () => resolve(null), { once: true });
      session.on("NodeWorker.attachedToWorker", ({ params: { sessionId, workerInfo } }) => {
        if (/^\[worker (\d+)\]/.exec(workerInfo.title)?.[1] !== String(threadId)) return;
        void runningStack((expression) => evaluate(session, sessionId, expression)).then(resolve);
      });
      session.post("NodeWorker.enable", { waitForDebuggerOnStart: false });
    });
  } finally {
    session.disconnect();
  }
}

/** Does not settle while the thread is in native code, nor once it has ended. */
function evaluate(session: Session, sessionId: string, expression: string): Promise<unknown> {
  return new Promise((resolve) => {
    const onAnswer = ({ params }: { readonly params: Answer }): void => {
      if (params.sessionId !== sessionId) return;
      session.off("NodeWorker.receivedMessageFromWorker", onAnswer);
      resolve(decodeEvaluation(params.message).value);
    };
    session.on("NodeWorker.receivedMessageFromWorker", onAnswer);
    session.post("NodeWorker.sendMessageToWorker", { sessionId, message: encodeEvaluation(1, expression) });
  });
}

type Answer = NodeWorker.ReceivedMessageFromWorkerEventDataType;
