import { join } from 'node:path';
import { createServer } from 'node:net';
import type { Environment } from '#libs/kernel';
import type { EdgeConfig } from '#libs/nest-kit';
import { env } from '#libs/nest-kit';
import type { Logger } from '#libs/observability';
import { cacheSalts, sharedEdge } from '../edge/cache-salt.ts';
import { listenAt } from '../http-server.ts';
import { Workers } from '../workers/workers.ts';
import type { ProcessOptions } from './options.ts';
import { waitingServer } from './waiting-server.ts';

/**
 * Several gateway processes on one port, each this very program with a name, a home and a socket of its own.
 * @throws PORT_TAKEN, PORT_DENIED, HOST_INVALID, and where a worker ends before it serves
 */
export async function superviseWorkers(
  options: ProcessOptions & { readonly workers: number },
  at: { readonly host: string; readonly port: number; readonly edge?: EdgeConfig },
  environment: Environment,
  logger: Logger,
  /** What is started so far, to be stopped. */
  started: (workers: Workers) => void,
): Promise<void> {
  const { host } = at;
  // Alone on it once: another program that shares its port, too, would take a part of our connections without a word.
  const probe = createServer();
  const port = await listenAt(probe, at);
  await new Promise((resolve) => probe.close(resolve));
  const waiting = await waitingServer({ ...at, port }, environment, () => 'the workers are starting', true);
  await cacheSalts(at.edge?.cacheSaltSecret, options.home, environment.rng);
  const edge = JSON.stringify(sharedEdge(at.edge, options.home));
  const workers = new Workers({
    count: options.workers,
    instance: options.instance,
    main: process.argv[1] as string,
    args: (name) => [
      ...process.argv.slice(2),
      '--worker',
      `--instance=${name}`,
      `--home=${join(options.home, name)}`,
      `--host=${host}`,
      `--port=${port}`,
      `--edge=${edge}`,
    ],
    variables: env.withOwn(),
    environment,
    say: (line) => logger.warn(line),
    applies: true,
  });
  started(workers);
  await workers.start(async () => await waiting.close());
  logger.info({ url: workers.url, workers: options.workers, pids: workers.pids }, 'workers are serving');
}
