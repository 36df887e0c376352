import type { NatsConnection } from '@nats-io/transport-node';
import { connect, nkeyAuthenticator } from '@nats-io/transport-node';
import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { Environment } from '#libs/kernel';
import { CodedError, errorText, systemEnvironment } from '#libs/kernel';
import { natsLimits } from './limits.ts';

export interface ConnectNatsOptions {
  /** `nats://[user:password@]host:port`, several separated by commas. */
  readonly url: string;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** Seed of an nkey (`SU…`) instead of a password. */
  readonly nkeySeed?: string | undefined;
  readonly tls?: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string } | undefined;
  /** Shown by the server: `<app>:<instance>`. */
  readonly name: string;
  readonly environment?: Environment;
  /** Lost, found again, refused: one line each. */
  readonly log?: (line: string) => void;
}

interface Servers {
  readonly servers: string[];
  readonly user: string | undefined;
  readonly password: string | undefined;
}

function serversOf(options: ConnectNatsOptions): Servers {
  let { user, password } = options;
  const servers = options.url.split(',').map((text) => {
    const trimmed = text.trim();
    let url: URL;
    try {
      url = new URL(trimmed.includes('://') ? trimmed : `nats://${trimmed}`);
    } catch (cause) {
      throw new CodedError('NATS_URL_INVALID', `"${trimmed.replace(/\/\/.*@/, '//…@')}" is not a NATS address`, {
        advice: 'Write nats://user:password@host:port.',
        cause,
      });
    }
    if (url.username !== '') user ??= decodeURIComponent(url.username);
    if (url.password !== '') password ??= decodeURIComponent(url.password);
    return `${url.hostname}:${url.port === '' ? 4222 : url.port}`;
  });
  return { servers, user, password };
}

/** A connection with its JetStream faces. Reconnects for ever; says at once when it is away. */
export class NatsLink {
  readonly js: JetStreamClient;
  #connected = true;
  #closed = false;
  readonly #onChange = new Set<(connected: boolean) => void>();

  constructor(
    readonly nc: NatsConnection,
    readonly jsm: JetStreamManager,
    readonly environment: Environment,
    readonly name: string,
    readonly inboxPrefix: string,
    private readonly log: (line: string) => void,
  ) {
    this.js = jetstream(nc, { timeout: natsLimits.apiTimeoutMs });
    void this.#watch();
  }

  /** False while the server is away: nothing is sent then, so that nothing piles up and nothing arrives late. */
  get connected(): boolean {
    return this.#connected && !this.#closed;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** "2.15.1" */
  get serverVersion(): string {
    return this.nc.info?.version ?? '0.0.0';
  }

  atLeast(major: number, minor: number): boolean {
    const [a = 0, b = 0] = this.serverVersion.split('.').map(Number);
    return a > major || (a === major && b >= minor);
  }

  onChange(listener: (connected: boolean) => void): () => void {
    this.#onChange.add(listener);
    return () => void this.#onChange.delete(listener);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#tell(false);
    await this.nc.close();
  }

  #tell(connected: boolean): void {
    for (const listener of this.#onChange) listener(connected);
  }

  async #watch(): Promise<void> {
    for await (const status of this.nc.status()) {
      if (status.type === 'disconnect') {
        if (!this.#closed) this.log('nats: the server is away, reconnecting');
        this.#connected = false;
        this.#tell(false);
      } else if (status.type === 'reconnect') {
        this.#connected = true;
        this.log('nats: connected again');
        this.#tell(true);
      } else if (status.type === 'error') {
        this.log(`nats: ${errorText(status.error)}`);
      }
    }
    const error = await this.nc.closed();
    if (!this.#closed && error instanceof Error) this.log(`nats: connection closed: ${error.message}`);
    this.#closed = true;
    this.#tell(false);
  }
}

/**
 * Connects as one user.
 * @throws NATS_URL_INVALID · NATS_UNREACHABLE · NATS_REFUSED wrong user or password · NATS_NO_JETSTREAM
 */
export async function connectNats(options: ConnectNatsOptions): Promise<NatsLink> {
  const { servers, user, password } = serversOf(options);
  const at = servers.join(', ');
  // Each user hears only its own answers.
  const inboxPrefix = user === undefined ? '_INBOX' : `_INBOX.${user}`;
  let nc: NatsConnection;
  try {
    nc = await connect({
      servers,
      name: options.name,
      timeout: natsLimits.connectTimeoutMs,
      maxReconnectAttempts: -1,
      reconnectTimeWait: natsLimits.reconnectWaitMs,
      reconnectJitter: natsLimits.reconnectJitterMs,
      pingInterval: natsLimits.pingIntervalMs,
      ignoreAuthErrorAbort: true,
      noAsyncTraces: true,
      ...(user === undefined ? {} : { user, pass: password ?? '' }),
      ...(options.nkeySeed === undefined
        ? {}
        : { authenticator: nkeyAuthenticator(new TextEncoder().encode(options.nkeySeed)) }),
      ...(options.tls === undefined ? {} : { tls: options.tls }),
      inboxPrefix,
    });
  } catch (cause) {
    if (/authorization|authentication/i.test(errorText(cause))) {
      throw new CodedError('NATS_REFUSED', `nats-server at ${at} refuses user ${JSON.stringify(user ?? '')}`, {
        advice: 'Check LINTEL_NATS_USER and LINTEL_NATS_PASSWORD, or the credentials file of the managed server.',
        cause,
      });
    }
    throw new CodedError('NATS_UNREACHABLE', `no nats-server at ${at}: ${errorText(cause)}`, {
      advice: 'Start it, correct LINTEL_NATS_URL, or unset it to let Lintel run its own.',
      cause,
    });
  }
  try {
    const jsm = await jetstreamManager(nc, { timeout: natsLimits.apiTimeoutMs, checkAPI: false });
    await jsm.getAccountInfo();
    return new NatsLink(
      nc,
      jsm,
      options.environment ?? systemEnvironment,
      options.name,
      inboxPrefix,
      options.log ?? (() => {}),
    );
  } catch (cause) {
    await nc.close();
    throw new CodedError(
      'NATS_NO_JETSTREAM',
      `nats-server at ${at} answers no JetStream request: ${errorText(cause)}`,
      {
        advice: 'Start it with JetStream (nats-server -js), and let this user publish to $JS.API.INFO.',
        cause,
      },
    );
  }
}
