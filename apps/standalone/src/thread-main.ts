import { parentPort, workerData } from 'node:worker_threads';
import { CodedError, errorCode, errorText, systemTimers } from '#libs/kernel';
import { env } from '#libs/nest-kit';
import { basename, dirname } from 'node:path';
import { startDiagnosticsApp, startKvIndexApp, startSimulators } from './thread-apps.ts';
import { openLog } from './logs.ts';
import type { ThreadJob, ThreadMessage } from './threads.ts';

const job = workerData as ThreadJob;
const parent = parentPort;
if (parent === null) throw new CodedError('NOT_A_THREAD', 'thread-main runs as a worker thread of standalone only');
const say = (message: ThreadMessage): void => parent.postMessage(message);
const log = openLog(dirname(job.logFile), basename(job.logFile, '.log'), env.logLevel, systemTimers);

try {
  const starts = {
    diagnostics: startDiagnosticsApp,
    'kv-index': startKvIndexApp,
    'engine-sim': startSimulators,
  } as const;
  const app = await starts[job.app](job.options, log.logger);
  parent.on('message', () => {
    void app
      .stop()
      .catch((error: unknown) => log.logger.error({ err: error }, 'stop failed'))
      .finally(() => {
        log.close();
        process.exit(0);
      });
  });
  say({ kind: 'ready', result: app.result });
} catch (error) {
  const advice = error instanceof CodedError ? error.advice : undefined;
  log.logger.error({ err: error }, 'start failed');
  log.close();
  say({
    kind: 'failed',
    code: errorCode(error),
    message: errorText(error),
    ...(advice === undefined ? {} : { advice }),
  });
}
