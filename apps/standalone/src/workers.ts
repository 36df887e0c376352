import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RunningGateway } from '#apps/gateway';
import { sharedEdge, Workers } from '#apps/gateway';
import type { Environment } from '#libs/kernel';
import type { EdgeConfig } from '#libs/nest-kit';
import { env } from '#libs/nest-kit';
import type { BrokerAddress } from './broker.ts';
import type { Home } from './home.ts';

/** The built gateway beside the built standalone. */
const gatewayMain = fileURLToPath(new URL('../../gateway/src/main.js', import.meta.url));

/** Steers a gateway of its own; here the flags of the whole say all. */
const steering = ['LINTEL_CONFIG', 'LINTEL_WORKERS', 'LINTEL_TLS_CERT', 'LINTEL_TLS_KEY', 'LINTEL_TLS_CLIENT_CA'];

export interface MoreWorkers {
  /** Beside the gateway of this process. */
  readonly count: number;
  readonly gateway: RunningGateway;
  readonly instance: string;
  readonly host: string;
  readonly address: BrokerAddress;
  readonly home: Home;
  readonly open: boolean;
  readonly compat: 'aibrix' | undefined;
  readonly adminKey: string;
  /** Whose tokenizers they take: files of this machine, which the log does not hold. */
  readonly configFile: string | undefined;
  readonly edge: EdgeConfig | undefined;
  readonly environment: Environment;
  readonly say: (line: string) => void;
  readonly output: (text: string) => void;
}

/** Gateway processes that share the port of the one in this process. What the configuration says they read from the log. */
export function moreWorkers(options: MoreWorkers): Workers {
  const { count, gateway, instance, host, address, home, open, compat, adminKey, edge, environment, say, output } =
    options;
  const { configFile } = options;
  return new Workers({
    count,
    first: 2,
    instance: 'gateway',
    main: gatewayMain,
    args: (name) => [
      '--worker',
      `--instance=${name}`,
      `--home=${home.path(name)}`,
      `--host=${host}`,
      `--port=${gateway.port}`,
      `--edge=${JSON.stringify(sharedEdge(edge, home.folder))}`,
      `--nats-url=${address.url}`,
      ...(address.user === undefined ? [] : [`--nats-user=${address.user}`]),
      ...(configFile === undefined ? [] : [`--tokenizers-of=${resolve(configFile)}`]),
      ...(open ? ['--open'] : []),
      ...(compat === undefined ? [] : [`--compat=${compat}`]),
    ],
    variables: env.withOwn({
      ...Object.fromEntries(steering.map((name) => [name, ''])),
      LINTEL_ADMIN_KEY: adminKey,
      ...(address.password === undefined ? {} : { LINTEL_NATS_PASSWORD: address.password }),
    }),
    environment,
    say,
    output,
    applies: false,
    local: { name: instance, metrics: async () => await gateway.metrics() },
  });
}
