import { dirname } from 'node:path';
import type { Broker } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import { env } from '#libs/nest-kit';
import type { BrokerAddress } from './broker.ts';
import { inMemoryOf } from './diagnostics.ts';
import { openLog } from './logs.ts';
import type { Progress } from './progress.ts';
import type { Stack } from './stack.ts';
import type { DiagnosticsResult, KvIndexJob } from './thread-apps.ts';
import { keepThread } from './threads.ts';

export interface KvIndexHost {
  readonly job: Omit<KvIndexJob, 'broker' | 'port'>;
  readonly memory: Broker | undefined;
  readonly address: BrokerAddress | undefined;
}

/** Follows the engines that say what they hold: on a thread of its own where there is a broker that both can reach. */
export async function startKvIndex(
  { job, memory, address }: KvIndexHost,
  progress: Progress,
  stack: Stack,
  logFile: string,
  report: (line: string) => void,
  output: (text: string) => void,
): Promise<void> {
  await progress.step(
    'kv-index',
    async () => {
      if (memory !== undefined || address === undefined) {
        const app = await import('#apps/kv-index');
        const log = openLog(dirname(logFile), 'kv-index', env.logLevel, systemEnvironment.timers);
        const running = await app.startKvIndex({ ...job, port: 0, broker: inMemoryOf(memory), logger: log.logger });
        stack.add({ name: 'kv-index', stop: async () => (await running.stop(), log.close()) });
        return { url: running.url };
      }
      const jobAt = (port: number) =>
        ({ app: 'kv-index', options: { ...job, port, broker: address } satisfies KvIndexJob, logFile }) as const;
      const thread = await keepThread<DiagnosticsResult>(
        jobAt(0),
        ({ port }) => jobAt(port),
        report,
        output,
        systemEnvironment,
      );
      stack.add({ name: 'kv-index', stop: async () => await thread.stop() });
      return thread.result;
    },
    ({ url }) => url,
  );
}
