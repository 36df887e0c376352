import { Worker } from 'node:worker_threads';
import { CodedError } from '#libs/kernel';

const threadStartMsMax = 60_000;
const threadStopMsMax = 15_000;

/** What a thread is told to run. `options` must survive a structured clone. */
export interface ThreadJob {
  readonly app: 'diagnostics' | 'engine-sim';
  readonly options: unknown;
}

export type ThreadMessage =
  | { readonly kind: 'ready'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string; readonly advice?: string };

export interface AppThread<Result> {
  readonly result: Result;
  /** Settles when the thread has ended; rejects when it ended by itself with an error. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

/** Starts an app on a thread of its own, so that its work never waits on the gateway's event loop, nor the gateway on it. */
export async function startThread<Result>(
  job: ThreadJob,
  timers: { after(ms: number, fn: () => void): { cancel(): void } },
): Promise<AppThread<Result>> {
  const worker = new Worker(new URL('./thread-main.js', import.meta.url), { workerData: job, name: job.app });
  let stopping = false;
  const ended = new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', (code) => {
      if (stopping || code === 0) resolve();
      else reject(new CodedError('THREAD_ENDED', `the ${job.app} thread ended with code ${code}`));
    });
  });
  // Whoever waits on `ended` sees the failure; nobody waiting must not end the process before it can say why.
  ended.catch(() => {});
  const result = await new Promise<Result>((resolve, reject) => {
    const late = timers.after(threadStartMsMax, () => {
      reject(
        new CodedError(
          'THREAD_START_TIMEOUT',
          `the ${job.app} thread was not ready after ${threadStartMsMax / 1000} s`,
        ),
      );
    });
    worker.once('message', (message: ThreadMessage) => {
      late.cancel();
      if (message.kind === 'ready') resolve(message.result as Result);
      else
        reject(
          new CodedError(message.code, message.message, message.advice === undefined ? {} : { advice: message.advice }),
        );
    });
    ended.then(() => reject(new CodedError('THREAD_ENDED', `the ${job.app} thread ended before it was ready`)), reject);
  });
  return {
    result,
    ended,
    async stop() {
      stopping = true;
      worker.postMessage('stop');
      const late = timers.after(threadStopMsMax, () => void worker.terminate());
      await ended.catch(() => {});
      late.cancel();
    },
  };
}
