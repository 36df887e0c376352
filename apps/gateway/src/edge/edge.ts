import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { EdgeConfig } from '#libs/nest-kit';
import { coarseAddress, Networks, plainAddress } from './addresses.ts';
import type { Asking } from './client-address.ts';
import { ClientAddresses } from './client-address.ts';
import { Cors } from './cors.ts';
import { FirstBytes } from './first-bytes.ts';
import { EdgeFront } from './front.ts';
import { ServerTls } from './server-tls.ts';

/** What stands before the HTTP server. */
export interface Edge {
  /** Undefined: the HTTP server listens itself. */
  readonly front: EdgeFront | undefined;
  readonly tls: ServerTls | undefined;
  readonly firstBytes: FirstBytes | undefined;
  readonly cors: Cors | undefined;
  readonly addresses: ClientAddresses;
  /** What records keep of a client's address. */
  kept(request: Asking): string;
}

export interface EdgeStart {
  readonly config: EdgeConfig | undefined;
  readonly environment: Environment;
  readonly say: (line: string) => void;
  /** Of connections that carry nothing. */
  readonly idleMs: number;
  /** For a request over HTTP/2 to come whole. */
  readonly requestMs: number;
}

/** Nothing is encrypted, and no proxy is believed. */
export const plainEdge: Edge = {
  front: undefined,
  tls: undefined,
  firstBytes: undefined,
  cors: undefined,
  addresses: new ClientAddresses(),
  kept: () => '',
};

const keepings = { none: undefined, network: coarseAddress, whole: plainAddress } as const;

/** @throws FILE_UNREADABLE, TLS_INVALID, NETWORK_INVALID */
export async function startEdge({ config, environment, say, idleMs, requestMs }: EdgeStart): Promise<Edge> {
  if (config === undefined) return plainEdge;
  const { trustedProxies, cors, http2 } = config;
  const networks = trustedProxies === undefined ? undefined : new Networks(trustedProxies.networks);
  const header = trustedProxies?.header === 'none' ? undefined : trustedProxies?.header;
  const tls = config.tls === undefined ? undefined : await ServerTls.start(config.tls, environment, say);
  const h2c = tls === undefined && http2?.cleartext === true;
  const proxyProtocol = trustedProxies?.proxyProtocol === true;
  const firstBytes =
    h2c || proxyProtocol ? new FirstBytes(environment.timers, proxyProtocol ? networks : undefined) : undefined;
  if (tls !== undefined && http2?.cleartext === true) {
    throw new CodedError('HTTP2_CLEARTEXT_WITH_TLS', 'http2.cleartext was asked for on a port that is encrypted', {
      advice: 'Leave it out: over TLS clients have HTTP/2 without it.',
    });
  }
  const addresses = new ClientAddresses(networks, header);
  const keeping = keepings[config.clientAddress ?? 'none'];
  const front =
    tls === undefined && firstBytes === undefined
      ? undefined
      : new EdgeFront({
          tls,
          http2: tls !== undefined && http2?.tls !== false,
          h2c,
          firstBytes,
          idleMs,
          requestMs,
          environment,
        });
  return {
    front,
    tls,
    firstBytes,
    cors: cors === undefined ? undefined : new Cors(cors),
    addresses,
    kept: keeping === undefined ? plainEdge.kept : (request) => keeping(addresses.of(request)),
  };
}
