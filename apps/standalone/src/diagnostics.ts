import { dirname } from 'node:path';
import type { Broker } from '#libs/event-log';
import { CodedError, systemEnvironment } from '#libs/kernel';
import { env } from '#libs/nest-kit';
import type { BrokerAddress } from './broker.ts';
import { openLog } from './logs.ts';
import { portTaken } from './ports.ts';
import type { Progress } from './progress.ts';
import type { Stack } from './stack.ts';
import type { DiagnosticsJob, DiagnosticsResult } from './thread-apps.ts';
import { keepThread } from './threads.ts';

export interface DiagnosticsHost {
  readonly job: Omit<DiagnosticsJob, 'broker'>;
  /** Shared with the gateway; undefined where diagnostics has a connection and a thread of its own. */
  readonly memory: Broker | undefined;
  readonly address: BrokerAddress | undefined;
}

export function inMemoryOf(memory: Broker | undefined): Broker {
  if (memory === undefined) throw new CodedError('NO_BROKER', 'there is neither a broker nor a log in memory');
  return memory;
}

/** Diagnostics, as a step of the start: on a thread of its own where there is a broker that both can reach. */
export async function startDiagnostics(
  { job, memory, address }: DiagnosticsHost,
  progress: Progress,
  stack: Stack,
  logFile: string,
  report: (line: string) => void,
  output: (text: string) => void,
  note: string,
): Promise<DiagnosticsResult> {
  const environment = systemEnvironment;
  return await progress.step(
    'diagnostics',
    async () => {
      try {
        if (memory !== undefined || address === undefined) {
          // A log in memory lives in one thread, so diagnostics has to be there, too.
          const app = await import('#apps/diagnostics');
          const log = openLog(dirname(logFile), 'diagnostics', env.logLevel, environment.timers);
          const running = await app.startDiagnostics({ ...job, broker: inMemoryOf(memory), logger: log.logger });
          stack.add({ name: 'diagnostics', stop: async () => (await running.stop(), log.close()) });
          return { url: running.url, port: running.port };
        }
        const jobAt = (port: number) =>
          ({
            app: 'diagnostics',
            options: { ...job, port, broker: address } satisfies DiagnosticsJob,
            logFile,
          }) as const;
        const thread = await keepThread<DiagnosticsResult>(
          jobAt(job.port),
          ({ port }) => jobAt(port),
          report,
          output,
          environment,
        );
        stack.add({ name: 'diagnostics', stop: async () => await thread.stop() });
        return thread.result;
      } catch (error) {
        throw portTaken(error, job.port, '--api-port');
      }
    },
    ({ url }) => `${url}${note}`,
  );
}
