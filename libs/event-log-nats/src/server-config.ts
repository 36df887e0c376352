import type { NatsUser } from './permissions.ts';
import { natsUsers, userPermissions } from './permissions.ts';

/** A password, or the name of the environment variable from which the server takes it (not of digits only: it must read as a text). */
export type NatsPassword = string | { readonly env: string };

export interface NatsServerConfig {
  readonly host?: string;
  readonly port: number;
  /** Folder of JetStream. */
  readonly storeDir: string;
  readonly serverName?: string;
  readonly passwords: Readonly<Record<NatsUser, NatsPassword>> | Readonly<Partial<Record<NatsUser, NatsPassword>>>;
  /**
   * fsync before each acknowledgement: what was acknowledged survives a power cut. Default true. Servers before 2.10
   * do not know the setting and refuse it: give false there, and acknowledged commits survive a killed server only.
   */
  readonly syncAlways?: boolean;
  readonly fileBytesMax?: number;
  readonly memoryBytesMax?: number;
  /** Health and monitoring over HTTP; off unless given. */
  readonly monitor?: { readonly host: string; readonly port: number };
}

const quoted = (text: string): string => JSON.stringify(text);
const list = (subjects: readonly string[], indent: string): string =>
  `[\n${subjects.map((subject) => `${indent}  ${quoted(subject)}`).join('\n')}\n${indent}]`;

function userBlock(user: NatsUser, password: NatsPassword): string {
  const secret = typeof password === 'string' ? quoted(password) : `$${password.env}`;
  const head = `    { user: ${quoted(user)}, password: ${secret}`;
  if (user === 'operator') return `${head} }`;
  const { publish, subscribe } = userPermissions[user];
  const heard = [`_INBOX.${user}.>`, ...subscribe];
  return `${head}, permissions: {
      publish: { allow: ${list(publish, '      ')} }
      subscribe: { allow: ${list(heard, '      ')} }
    } }`;
}

/**
 * The text of a nats-server configuration: JetStream with fsync on each write, one user for each app with the
 * subjects of its context. Holds passwords unless they are given by environment: write it with mode 0600.
 */
export function natsServerConfig(config: NatsServerConfig): string {
  const users = natsUsers.flatMap((user) => {
    const password = config.passwords[user];
    return password === undefined ? [] : [userBlock(user, password)];
  });
  const jetstream = [
    `  store_dir: ${quoted(config.storeDir)}`,
    ...(config.syncAlways === false ? [] : ['  sync_interval: always']),
    ...(config.fileBytesMax === undefined ? [] : [`  max_file_store: ${config.fileBytesMax}`]),
    ...(config.memoryBytesMax === undefined ? [] : [`  max_memory_store: ${config.memoryBytesMax}`]),
  ];
  return `# Written by Lintel: docs/event-log.md says what stands here and why.
listen: ${quoted(`${config.host ?? '127.0.0.1'}:${config.port}`)}
server_name: ${quoted(config.serverName ?? 'lintel')}
max_payload: 1MB
max_pending: 64MB
${config.monitor === undefined ? '' : `http: ${quoted(`${config.monitor.host}:${config.monitor.port}`)}\n`}jetstream {
${jetstream.join('\n')}
}
authorization {
  users: [
${users.join('\n')}
  ]
}
`;
}
