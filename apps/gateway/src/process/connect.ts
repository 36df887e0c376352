import { EventRegistry } from '#libs/contracts';
import type { Broker } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import type { Environment } from '#libs/kernel';
import type { EdgeConfig } from '#libs/nest-kit';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { ProcessOptions } from './options.ts';
import { waitingServer } from './waiting-server.ts';

const retryMsMin = 200;
const retryMsMax = 5_000;

/**
 * Connects to the broker, however long it takes to come. @throws at once what waiting does not mend: a
 * refused user, a wrong address, a taken port
 */
export async function connectPatiently(
  options: ProcessOptions,
  /** Answers there meanwhile; undefined where somebody else does. */
  at: { host: string; port: number; edge?: EdgeConfig } | undefined,
  environment: Environment,
  log: (line: string) => void,
  stopped: AbortSignal,
): Promise<Broker> {
  const connect = async (): Promise<Broker> =>
    await natsBroker({
      url: options.natsUrl,
      user: options.natsUser,
      password: options.natsPassword,
      name: `gateway:${options.instance}`,
      registry: new EventRegistry(),
      environment,
      log,
    });
  let waiting: { close(): Promise<void> } | undefined;
  let lastError = '';
  try {
    for (let delayMs = retryMsMin; ; delayMs = Math.min(delayMs * 2, retryMsMax)) {
      try {
        return await connect();
      } catch (thrown) {
        if (!worthWaiting.includes(errorCode(thrown))) throw thrown;
        if (errorText(thrown) !== lastError) log(`${errorText(thrown)}; waiting for it`);
        lastError = errorText(thrown);
      }
      if (at !== undefined) waiting ??= await waitingServer(at, environment, () => lastError);
      await environment.timers.sleep(delayMs);
      if (stopped.aborted) throw new CodedError('STOPPED', 'stopped while waiting for the broker');
    }
  } finally {
    await waiting?.close();
  }
}

const worthWaiting = ['NATS_UNREACHABLE', 'NATS_NO_JETSTREAM', 'STREAMS_UNAVAILABLE'];
