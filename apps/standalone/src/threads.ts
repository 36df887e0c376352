import { Worker } from 'node:worker_threads';
import type { Environment } from '#libs/kernel';
import { CodedError, errorText } from '#libs/kernel';

const threadStartMsMax = 60_000;
const threadStopMsMax = 15_000;
/** A thread that dies more often than this within the window stays down, and is named. */
const restartsMax = 5;
const restartWindowMs = 60_000;
const restartDelayMs = 250;

/** What a thread is told to run. `options` must survive a structured clone. */
export interface ThreadJob {
  readonly app: 'diagnostics' | 'engine-sim' | 'kv-index';
  readonly options: unknown;
  readonly logFile: string;
  /** What the thread runs; default `thread-main.js` beside this file. */
  readonly main?: URL;
}

export type ThreadMessage =
  | { readonly kind: 'ready'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string; readonly advice?: string };

export interface AppThread<Result> {
  readonly result: Result;
  /** Settles when the thread has ended; rejects when it ended by itself. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts an app on a thread of its own, so that its work never waits on the gateway's event loop, nor the gateway on it. What it prints
 * goes to `output`; signals reach the main thread alone.
 * @throws what the app throws, THREAD_START_TIMEOUT, THREAD_ENDED
 */
export async function startThread<Result>(
  job: ThreadJob,
  output: (text: string) => void,
  { timers }: Pick<Environment, 'timers'>,
): Promise<AppThread<Result>> {
  const { main = new URL('./thread-main.js', import.meta.url), ...data } = job;
  const worker = new Worker(main, {
    workerData: data,
    name: job.app,
    stdout: true,
    stderr: true,
  });
  for (const stream of [worker.stdout, worker.stderr]) stream.on('data', (chunk: Buffer) => output(String(chunk)));
  let stopping = false;
  const ended = new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', (code) => {
      if (stopping) resolve();
      else reject(new CodedError('THREAD_ENDED', `the ${job.app} thread ended with code ${code}`));
    });
  });
  // Whoever waits on `ended` sees the failure; nobody waiting must not end the process before it can say why.
  ended.catch(() => {});
  const ready = Promise.withResolvers<Result>();
  const late = timers.after(threadStartMsMax, () => {
    const text = `the ${job.app} thread was not ready after ${threadStartMsMax / 1000} s`;
    ready.reject(new CodedError('THREAD_START_TIMEOUT', text));
  });
  worker.once('message', (message: ThreadMessage) => {
    if (message.kind === 'ready') return ready.resolve(message.result as Result);
    const { code, message: text, advice } = message;
    ready.reject(new CodedError(code, text, advice === undefined ? {} : { advice }));
  });
  ended.catch(ready.reject);
  try {
    const result = await ready.promise;
    return {
      result,
      ended,
      async stop() {
        stopping = true;
        worker.postMessage('stop');
        const overdue = timers.after(threadStopMsMax, () => void worker.terminate());
        await ended.catch(() => {});
        overdue.cancel();
      },
    };
  } catch (error) {
    stopping = true;
    await worker.terminate();
    throw error;
  } finally {
    late.cancel();
  }
}

export interface KeptThread<Result> {
  /** Of the first start; a restart serves at the same addresses. */
  readonly result: Result;
  stop(): Promise<void>;
}

/** A thread that is started again when it dies. `jobAgain` gives the restart's options: the same ports as at first. */
export async function keepThread<Result>(
  job: ThreadJob,
  jobAgain: (first: Result) => ThreadJob,
  report: (line: string) => void,
  output: (text: string) => void,
  environment: Pick<Environment, 'timers' | 'clock'>,
): Promise<KeptThread<Result>> {
  let thread = await startThread<Result>(job, output, environment);
  const { result } = thread;
  const deaths: number[] = [];
  let stopping = false;
  /** False where it stays down. */
  const revive = async (reason: string): Promise<boolean> => {
    const nowMs = environment.clock.monotonicMs();
    deaths.push(nowMs);
    if (deaths.filter((atMs) => nowMs - atMs < restartWindowMs).length > restartsMax) {
      report(`${job.app} died more than ${restartsMax} times in a minute and stays down; read ${job.logFile}`);
      return false;
    }
    report(`${job.app} died and is started again (${reason})`);
    await environment.timers.sleep(restartDelayMs);
    if (stopping) return false;
    try {
      thread = await startThread<Result>(jobAgain(result), output, environment);
      return true;
    } catch (error) {
      return await revive(errorText(error));
    }
  };
  const keep = async (): Promise<void> => {
    for (let goes = true; goes;) {
      const reason = await thread.ended.then(() => 'it was stopped', errorText);
      goes = !stopping && (await revive(reason));
    }
  };
  const keeping = keep();
  return {
    result,
    async stop() {
      stopping = true;
      await thread.stop();
      // A restart that was under way ends here; what it started goes, too.
      await keeping;
      await thread.stop();
    },
  };
}
