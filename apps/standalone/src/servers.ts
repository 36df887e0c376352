import { env } from '#libs/nest-kit';
import { errorText } from '#libs/kernel';
import type { NatsUser } from '#libs/event-log-nats';
import { type ProvidedNats, type ProvidedPostgres, provideNats, providePostgres } from '#libs/provision';
import type { BrokerAddress } from './broker.ts';
import type { Home } from './home.ts';
import type { Progress } from './progress.ts';
import type { Stack } from './stack.ts';

export type BrokerPlace =
  | { readonly kind: 'nats'; address(user: NatsUser, instance: string): BrokerAddress }
  | { readonly kind: 'memory'; readonly advice: string };

/** Of a reason in a step's line; all of it stands in the log. */
const reasonLengthMax = 120;

function killNow(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid !== undefined) process.kill(pid, signal);
}

function addressOf(nats: ProvidedNats): (user: NatsUser, instance: string) => BrokerAddress {
  return (user, instance) => ({
    url: nats.url,
    user: nats.credentials?.[user].user ?? env.natsUser,
    password: nats.credentials?.[user].password ?? env.natsPassword,
    name: instance,
  });
}

/** A broker on disk where one can be had, else the advice how to get one. */
export async function startBroker(
  home: Home,
  progress: Progress,
  stack: Stack,
  log: (line: string) => void,
): Promise<BrokerPlace> {
  const nats = await progress.step(
    'broker',
    async (say) => {
      const found = await provideNats({
        home: home.folder,
        existingUrl: env.natsUrl,
        cacheDir: env.cache,
        log: (line) => (say(line.replace(/^nats: /, '')), log(line)),
      });
      if (!('unavailable' in found)) {
        stack.add({ name: 'broker', stop: () => found.stop(), kill: () => killNow(found.pid, 'SIGKILL') });
      }
      return found;
    },
    (found) =>
      'unavailable' in found
        ? 'NOT DURABLE: no nats-server, the log is in memory'
        : `nats-server ${found.version} (${found.how}${found.adopted ? ', left running by a killed Lintel' : ''})`,
  );
  if ('unavailable' in nats) return { kind: 'memory', advice: nats.advice };
  return { kind: 'nats', address: addressOf(nats) };
}

/** The read models' database. Without one Lintel serves, records and explains from the log alone. */
export async function startDatabase(
  home: Home,
  progress: Progress,
  stack: Stack,
  log: (line: string) => void,
): Promise<string | undefined> {
  const given = env.databaseUrl;
  const database = await progress.step(
    'database',
    async (say): Promise<ProvidedPostgres | { readonly missing: string }> => {
      try {
        const found = await providePostgres({
          home: home.folder,
          existingUrl: given,
          log: (line) => (say(line.replace(/^postgres: /, '')), log(line)),
        });
        // SIGQUIT: the server ends its own children and does not wait for clients.
        stack.add({ name: 'database', stop: () => found.stop(), kill: () => killNow(found.pid, 'SIGQUIT') });
        return found;
      } catch (error) {
        if (given !== undefined) throw error; // asked for: going on without it would hide a mistake
        log(`postgres: ${errorText(error)}`);
        return { missing: errorText(error).split('\n')[0]?.slice(0, reasonLengthMax) ?? '' };
      }
    },
    (found) =>
      'missing' in found
        ? `none (${found.missing}): answers come from the log alone`
        : `Postgres ${found.version} (${found.how}${found.adopted ? ', left running by a killed Lintel' : ''})`,
  );
  return 'missing' in database ? undefined : database.url;
}
