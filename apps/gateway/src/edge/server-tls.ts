import type { SecureContextOptions, Server as TlsServer, TLSSocket } from 'node:tls';
import { createServer } from 'node:tls';
import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { TlsVersion } from './certificates.ts';
import { certificateOf, certificatesIn } from './certificates.ts';
import { edgeLimits } from './limits.ts';
import type { Texts } from './watched-files.ts';
import { WatchedFiles } from './watched-files.ts';

export interface ServerTlsOptions {
  readonly cert: string;
  readonly key: string;
  /** Authorities of clients' certificates: a client without one is then refused in the handshake. */
  readonly clientCa?: string | undefined;
  /** Default 1.2. */
  readonly minVersion?: TlsVersion | undefined;
}

/** Our side of clients' TLS: what it presents follows its files, and connections that stand are not touched. */
export class ServerTls {
  expiresAtMs = 0;
  readonly reloads = { applied: 0, refused: 0 };
  readonly handshakes = { done: 0, failed: 0 };
  readonly #files: WatchedFiles;
  readonly #clock: Environment['clock'];
  readonly #say: (line: string) => void;
  readonly #minVersion: TlsVersion;
  #context: SecureContextOptions = {};
  readonly #servers = new Set<TlsServer>();

  private constructor(
    { cert, key, clientCa, minVersion }: ServerTlsOptions,
    env: Environment,
    say: (line: string) => void,
  ) {
    this.#clock = env.clock;
    this.#say = say;
    this.#minVersion = minVersion ?? '1.2';
    this.#files = new WatchedFiles({
      files: { cert, key, clientCa },
      timers: env.timers,
      say,
      apply: (texts) => this.#apply(texts),
      counted: (result) => this.reloads[result]++,
    });
  }

  /** @throws FILE_UNREADABLE, TLS_INVALID */
  static async start(options: ServerTlsOptions, env: Environment, say: (line: string) => void): Promise<ServerTls> {
    const made = new ServerTls(options, env, say);
    await made.#files.start();
    return made;
  }

  /** A server that is fed with `connection`s and tells of decrypted ones. */
  server(protocols: readonly string[], secure: (socket: TLSSocket) => void): TlsServer {
    const server = createServer({
      ...this.#context,
      ...(this.#context.ca === undefined ? {} : { requestCert: true, rejectUnauthorized: true }),
      minVersion: `TLSv${this.#minVersion}`,
      ALPNProtocols: [...protocols],
      handshakeTimeout: edgeLimits.handshakeMsMax,
    });
    server.on('secureConnection', (socket) => {
      this.handshakes.done++;
      socket.setNoDelay(true);
      secure(socket);
    });
    server.on('tlsClientError', (_error, socket) => {
      this.handshakes.failed++;
      socket.destroy();
    });
    this.#servers.add(server);
    return server;
  }

  stop(): void {
    this.#files.stop();
  }

  #apply(texts: Texts): void {
    const { options, expiresAtMs } = certificateOf(texts);
    const { clientCa } = texts;
    if (clientCa !== undefined) void certificatesIn(clientCa, 'the file of client authorities');
    const nowMs = this.#clock.nowMs();
    if (expiresAtMs <= nowMs) {
      // Better one that still holds than a newer one that no client takes.
      if (this.expiresAtMs > nowMs) {
        throw new CodedError('TLS_INVALID', `the certificate expired at ${new Date(expiresAtMs).toISOString()}`);
      }
      this.#say(`the certificate expired at ${new Date(expiresAtMs).toISOString()}: clients will refuse it`);
    }
    const context = clientCa === undefined ? options : { ...options, ca: clientCa };
    for (const server of this.#servers) server.setSecureContext({ ...context, minVersion: `TLSv${this.#minVersion}` });
    this.#context = context;
    this.expiresAtMs = expiresAtMs;
  }
}
