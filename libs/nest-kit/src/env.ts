import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Every environment variable that Lintel reads, in the one file that may read them. Empty counts as unset. */
function read(name: string): string | undefined {
  const value = process.env[name];
  return value === undefined || value === '' ? undefined : value;
}

export const env = {
  /** Folder of all state; default `.lintel` in the working folder. */
  get home(): string {
    return resolve(read('LINTEL_HOME') ?? '.lintel');
  },
  /** Folder of what was fetched once for all homes: binaries of servers and engines. */
  get cache(): string {
    return resolve(read('LINTEL_CACHE') ?? join(read('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'lintel'));
  },
  /** A running broker instead of a managed one: `nats://user:password@host:port`. */
  get natsUrl(): string | undefined {
    return read('LINTEL_NATS_URL');
  },
  /** User and password of this app on that broker, where the URL carries none. */
  get natsUser(): string | undefined {
    return read('LINTEL_NATS_USER');
  },
  get natsPassword(): string | undefined {
    return read('LINTEL_NATS_PASSWORD');
  },
  /** A running Postgres instead of a managed one. */
  get databaseUrl(): string | undefined {
    return read('LINTEL_DATABASE_URL');
  },
  get host(): string | undefined {
    return read('LINTEL_HOST');
  },
  get port(): string | undefined {
    return read('LINTEL_PORT');
  },
  /** Name of this instance in subjects and records. */
  get instance(): string | undefined {
    return read('LINTEL_INSTANCE');
  },
  /** PEM files of the gateway's certificate and key, and of authorities that certify its clients. */
  get tlsCert(): string | undefined {
    return read('LINTEL_TLS_CERT');
  },
  get tlsKey(): string | undefined {
    return read('LINTEL_TLS_KEY');
  },
  get tlsClientCa(): string | undefined {
    return read('LINTEL_TLS_CLIENT_CA');
  },
  /** Networks of proxies that are believed, with commas between them. */
  get trustedProxies(): string | undefined {
    return read('LINTEL_TRUSTED_PROXIES');
  },
  /** Processes of a gateway that share its port. */
  get workers(): string | undefined {
    return read('LINTEL_WORKERS');
  },
  get configFile(): string | undefined {
    return read('LINTEL_CONFIG');
  },
  /** Where the command line finds the diagnostics API. */
  get api(): string | undefined {
    return read('LINTEL_API');
  },
  /** Authorities that the command line believes besides the well-known. */
  get ca(): string | undefined {
    return read('LINTEL_CA');
  },
  get adminKey(): string | undefined {
    return read('LINTEL_ADMIN_KEY');
  },
  /** pino level; default "info". */
  get logLevel(): string {
    return read('LINTEL_LOG_LEVEL') ?? 'info';
  },
  /** Traces are exported only where this is set. */
  get otlpEndpoint(): string | undefined {
    return read('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT') ?? read('OTEL_EXPORTER_OTLP_ENDPOINT');
  },
  get noColor(): boolean {
    return read('NO_COLOR') !== undefined;
  },
  /** Any variable, for `credential: env:NAME` of a replica. */
  variable: read,
  /** Everything of this process, for one that is to be as it, plus what is given. */
  withOwn(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
    return { ...process.env, ...extra };
  },
  /** What a child process starts with: paths and locale, nothing that steers Lintel, plus what is given. */
  forChild(extra: Record<string, string> = {}): Record<string, string> {
    const kept: Record<string, string> = {};
    for (const name of ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS']) {
      const value = read(name);
      if (value !== undefined) kept[name] = value;
    }
    return { ...kept, ...extra };
  },
} as const;
