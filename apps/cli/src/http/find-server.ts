import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { rootCertificates } from 'node:tls';
import type { Pinned } from '#libs/kernel';
import { CodedError, errorCode, errorText, pinnedTo } from '#libs/kernel';

export interface Server {
  /** Without a trailing slash. */
  readonly apiUrl: string;
  readonly adminKey: string;
  /** Where the address came from, for errors: "--api", or the file. */
  readonly foundIn: string;
  /** Whom an https address must be certified by; undefined: one of the well-known. */
  readonly trusted?: Pinned | { readonly ca: readonly string[] } | undefined;
  /** The same of the gateway. */
  readonly gatewayTrusted?: Server['trusted'];
  /** Known only where a running Lintel's file was read. */
  readonly gatewayUrl?: string;
  readonly durability?: 'memory' | 'disk';
  readonly pid?: number;
}

export interface Whereabouts {
  /** --api or LINTEL_API. */
  readonly api?: string | undefined;
  /** LINTEL_ADMIN_KEY. */
  readonly adminKey?: string | undefined;
  /** --ca or LINTEL_CA: PEM file of further authorities. */
  readonly ca?: string | undefined;
  readonly home: string;
}

interface Connection {
  readonly apiUrl: string;
  readonly gatewayUrl?: string;
  readonly gatewayCertFile?: string;
  readonly adminKeyFile?: string;
  readonly durability?: 'memory' | 'disk';
  readonly pid?: number;
}

const startAdvice =
  'Start it with `npm start` or `npx lintel up`, or say where it runs: --home FOLDER, or --api URL with LINTEL_ADMIN_KEY.';

function origin(text: string, source: string): string {
  const given = /^https?:\/\//.test(text) ? text : `http://${text}`;
  if (!URL.canParse(given)) {
    throw new CodedError('API_URL_INVALID', `${source}: ${JSON.stringify(text)} is not an address`, {
      advice: 'Write it as http://127.0.0.1:8090.',
    });
  }
  return given.replace(/\/+$/, '');
}

/** What a running Lintel left in its folder; undefined where there is none. @throws CONNECTION_FILE_INVALID */
async function connectionIn(home: string): Promise<Connection | undefined> {
  const file = join(home, 'connection.json');
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT' || errorCode(thrown) === 'ENOTDIR') return undefined;
    throw new CodedError('CONNECTION_FILE_UNREADABLE', `cannot read ${file}: ${errorText(thrown)}`, {
      advice: 'It belongs to whoever started Lintel: run this as that user, or use --api with LINTEL_ADMIN_KEY.',
    });
  }
  try {
    const json = JSON.parse(text) as Connection;
    if (typeof json.apiUrl === 'string') return json;
  } catch {
    // Said below, as for JSON of another shape.
  }
  throw new CodedError('CONNECTION_FILE_INVALID', `${file} does not say where Lintel runs`, {
    advice: 'Restart Lintel, which writes it anew, or use --api with LINTEL_ADMIN_KEY.',
  });
}

async function keyIn(home: string, { adminKeyFile }: Connection): Promise<string> {
  const file = resolve(home, adminKeyFile ?? 'admin-key');
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (thrown) {
    throw new CodedError('ADMIN_KEY_UNREADABLE', `cannot read the admin key: ${errorText(thrown)}`, {
      advice: 'Only the user who started Lintel can read it; give the key in LINTEL_ADMIN_KEY.',
    });
  }
}

/** The well-known authorities and those of this file. @throws CA_UNREADABLE */
async function authorities(file: string | undefined): Promise<Server['trusted']> {
  if (file === undefined) return undefined;
  let pem: string;
  try {
    pem = await readFile(file, 'utf8');
  } catch (cause) {
    throw new CodedError('CA_UNREADABLE', `cannot read ${file}: ${errorText(cause)}`, {
      advice: 'Give --ca (LINTEL_CA) a PEM file of certificates.',
      cause,
    });
  }
  if (pem.includes('-----BEGIN CERTIFICATE-----')) return { ca: [...rootCertificates, pem] };
  throw new CodedError('CA_UNREADABLE', `${file} holds no certificate`, {
    advice: 'Give --ca (LINTEL_CA) a PEM file of certificates.',
  });
}

/** Of a gateway on this machine: its own certificate, whoever signed it. */
async function certificateOf({ gatewayCertFile }: Connection): Promise<Server['trusted']> {
  if (gatewayCertFile === undefined) return undefined;
  const pem = await readFile(gatewayCertFile, 'utf8').catch(() => undefined);
  return pem === undefined ? undefined : pinnedTo(pem);
}

/**
 * Which Lintel is meant: the one named by --api or LINTEL_API, else the one that runs in the home folder.
 * @throws CA_UNREADABLE · LINTEL_NOT_RUNNING · ADMIN_KEY_MISSING · ADMIN_KEY_UNREADABLE · API_URL_INVALID · CONNECTION_FILE_*
 */
export async function findServer({ ca, ...where }: Whereabouts): Promise<Server> {
  const trusted = await authorities(ca);
  const server = await namedServer(where);
  return trusted === undefined ? server : { ...server, trusted, gatewayTrusted: trusted };
}

async function namedServer({ api, adminKey, home }: Whereabouts): Promise<Server> {
  const folder = resolve(home);
  if (api !== undefined) {
    const apiUrl = origin(api, '--api');
    if (adminKey !== undefined) return { apiUrl, adminKey, foundIn: '--api' };
    const local = await connectionIn(folder).catch(() => undefined);
    if (local !== undefined && origin(local.apiUrl, folder) === apiUrl) {
      return { ...(await known(local)), apiUrl, adminKey: await keyIn(folder, local), foundIn: '--api' };
    }
    throw new CodedError('ADMIN_KEY_MISSING', `no admin key for ${apiUrl}`, {
      advice: 'Set LINTEL_ADMIN_KEY to the key that diagnostics was started with.',
    });
  }
  const local = await connectionIn(folder);
  if (local === undefined) {
    throw new CodedError('LINTEL_NOT_RUNNING', `no Lintel is running in ${folder}`, { advice: startAdvice });
  }
  return {
    ...(await known(local)),
    apiUrl: origin(local.apiUrl, folder),
    adminKey: adminKey ?? (await keyIn(folder, local)),
    foundIn: join(folder, 'connection.json'),
  };
}

async function known(
  connection: Connection,
): Promise<Pick<Server, 'gatewayUrl' | 'gatewayTrusted' | 'durability' | 'pid'>> {
  const { gatewayUrl, durability, pid } = connection;
  return {
    gatewayTrusted: await certificateOf(connection),
    ...(gatewayUrl === undefined ? {} : { gatewayUrl }),
    ...(durability === undefined ? {} : { durability }),
    ...(pid === undefined ? {} : { pid }),
  };
}

const processLives = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return errorCode(thrown) === 'EPERM';
  }
};

/** What to say when nobody answers at the address. `lives` tells of the process that wrote the file. */
export function unreachable(
  server: Server,
  cause: unknown,
  lives: (pid: number) => boolean = processLives,
): CodedError {
  const { apiUrl, pid, foundIn } = server;
  const why = networkText(cause);
  if (pid !== undefined && !lives(pid)) {
    return new CodedError('LINTEL_NOT_RUNNING', `the Lintel with pid ${pid} that ${foundIn} names has ended`, {
      advice: startAdvice,
      cause,
    });
  }
  return new CodedError('API_UNREACHABLE', `cannot reach Lintel at ${apiUrl}: ${why}`, {
    advice:
      pid === undefined
        ? 'Is it running there, and is the address right?'
        : `Its process ${pid} is alive: is diagnostics up? See its output.`,
    cause,
  });
}

const networkWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name cannot be resolved now',
  EHOSTUNREACH: 'no way to that host',
  ENETUNREACH: 'no way to that network',
  ETIMEDOUT: 'no answer in time',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not trusted here; --ca names its authority',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not trusted here; --ca names its authority',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not trusted here; --ca names its authority',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is of another name',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'it takes only clients with a certificate',
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: 'it takes only clients with a certificate',
};

/** "nobody listens there (ECONNREFUSED)"; names the network error always. */
export function networkText(cause: unknown): string {
  const inner = cause instanceof AggregateError ? cause.errors[0] : cause;
  const code = errorCode(inner);
  const words = networkWords[code];
  if (words !== undefined) return `${words} (${code})`;
  return code === 'UNKNOWN' ? errorText(inner) : `${errorText(inner)} (${code})`;
}
